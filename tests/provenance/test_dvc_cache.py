"""Objects of DVC's cache: a damaged one is made anew or named."""

import hashlib


def test_a_damaged_object_of_the_cache_is_made_anew_or_named(sandbox, tmp_path):
    """From the workspace, where it has the content; else the file is named, with the way to get it back."""
    file = "results/prefixes/mini/prefixes.parquet"
    name = hashlib.md5((sandbox.path / file).read_bytes()).hexdigest()
    place = sandbox.path / ".dvc/cache/files/md5" / name[:2] / name[2:]
    for gone in (False, True):
        content = place.read_bytes()
        place.chmod(0o644)
        place.write_bytes(content[:-1])
        if gone:
            (sandbox.path / file).unlink()
        done = sandbox.run("engram", "cache", ok=not gone)
        assert f"made anew from {file}" in done.stdout if not gone else f"it was {file}; `dvc pull`" in done.stdout
        assert place.exists() != gone and (gone or place.read_bytes() == content)
