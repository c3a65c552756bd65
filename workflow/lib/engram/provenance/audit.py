"""Is every artifact what its lineage record says, does the chain of records hold, and is it what the workspace would
make? Never imports torch.

An artifact is any file of a model under data/, results/ or figures/; the record of `folder/name` is
`folder/.lineage/name.json`. What lies in data/ itself is no artifact, nor is the atlas: git keeps them. `verify`
asks the files and the code alone; `full` also Snakemake, the ledger, git and dvc.lock.
"""

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from engram.job import code_digest, lineage
from engram.provenance import code_versions, dvc_lock, planned_jobs
from engram.provenance.ledger import Ledger
from engram.settings import original_files

FOLDERS = ("data", "results", "figures")
KEPT = (Path("data"), Path(original_files.ATLAS))  # by git
OK = "ok"
NOTES = {
    "other model": "of a model that is not active: as its record says, but what it was made from is not here"
}  # no failure
FAILURES = {
    "missing": "the record is here, the file is not",
    "no record": "nothing says where the file comes from",
    "record edited": "the record is not what was written",
    "modified": "the file is not what was written",
    "input changed": "an input is not what the file was made from",
    "input absent": "an input is not here",
    "stale code": "the code has changed since the file was made",
    "stale params": "params.yaml gives the job other settings now",
    "stale command": "the rule runs another command now",
    "not made": "a rule makes it, it is not here",
    "no rule": "no rule makes it (`engram tidy` removes what belongs to an active model)",
    "ledger": "the ledger does not agree with the record, or was edited",
    "uncommitted": "made by code that no commit holds: commit it, with what it made",
    "dvc.lock": "what dvc.lock says and what is here differ (`engram record` puts a verified run into it)",
}
Code = Callable[..., dict[Path, str]]  # engram.job.code_digest.files, or what remembers its answers
VALID = Path("results/params/valid.json")  # made by `engram check`, not by a rule


class Verdict(NamedTuple):
    """What an audit says of one artifact, or of one stage of dvc.lock."""

    path: Path  # relative to the repository
    word: str  # OK or a key of NOTES or FAILURES
    detail: str = ""


def artifacts(root: Path, models: Collection[str] | None = None) -> list[Path]:
    """Paths, relative to `root`, of all artifacts and of all files that have a record; only of `models` if given."""
    paths = set()
    for path in (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()):
        place = path.relative_to(root)
        if place.parent.name == ".lineage":
            paths.add(place.parent.parent / place.name.removesuffix(".json"))
        elif not place.name.startswith(".") and place.parent not in KEPT:
            paths.add(place)
    return sorted(path for path in paths if models is None or model_of(path) in models)


def model_of(path: Path) -> str | None:
    """The model an artifact belongs to: its folder names it, below the stage if there is one."""
    parts = path.parts[2:] if path.parts[0] == "results" else path.parts[1:]
    return parts[0] if len(parts) > 1 else None


def verify(root: Path | str, models: Collection[str] | None = None) -> list[Verdict]:
    """One verdict per artifact under `root` (of `models`, if given) on its bytes, inputs and code, by hashing all of
    them again; asks neither Snakemake nor git.
    """
    return verdicts(root, artifacts(Path(root), models))


def verdicts(root: Path | str, paths: Iterable[Path]) -> list[Verdict]:
    """One verdict for each of these artifacts (paths relative to `root`), and for nothing that they were made from."""
    folder = Path(root)
    current = cache(lambda path: lineage.sha256(folder / path) if (folder / path).is_file() else None)
    code = cache(code_digest.files)  # of one set of roots read once: many artifacts are made by the same code
    return [_verdict(folder, path, current, code) for path in paths]


def _verdict(root: Path, path: Path, current: Callable[[Path], str | None], code: Code) -> Verdict:
    if current(path) is None:
        return Verdict(path, "missing")
    try:
        record = read_record(root, path)
    except FileNotFoundError:
        return Verdict(path, "no record")
    except ValueError as error:
        return Verdict(path, "record edited", str(error))
    if record["artifact"] != path.name or record["sha256"] != current(path):
        return Verdict(path, "modified", f"made as {record['artifact']} with sha256 {record['sha256'][:12]}")
    changed = [source["path"] for source in record["inputs"] if current(Path(source["path"])) != source["sha256"]]
    gone = [source for source in changed if current(Path(source)) is None]
    if changed == gone != []:
        return Verdict(path, "input absent", ", ".join(gone))
    if changed:
        return Verdict(
            path, "input changed", ", ".join(f"{source} (not here)" if source in gone else source for source in changed)
        )
    return _code_verdict(root, path, record, code)


def _code_verdict(root: Path, path: Path, record: dict, code: Code) -> Verdict:
    script = root / record["command"][0]
    if not script.is_file():
        return Verdict(path, "stale code", f"{record['command'][0]} (not here)")
    here = code(*code_digest.roots_of(script, record["params"].get("method")))
    now = code_digest.digest(here)
    if now != record["code"]:
        names = (
            ", ".join(code_versions.differing(record, code_digest.modules(here)))
            or f"{record['command'][0]} or what it imports"
        )
        return Verdict(path, "stale code", f"{names}: {record['code']}, now {now}")
    return Verdict(path, OK)


def full(root: Path | str, values: dict) -> list[Verdict]:
    """All verdicts: those of `verify`, each that is in order looked at further; what is missing; what dvc.lock says.

    `values`: the contents of the parameter file. RuntimeError if Snakemake cannot say what is to be made.
    """
    root, book, changed = Path(root), Ledger(root), code_versions.uncommitted(root)
    with ThreadPoolExecutor() as pool:  # Snakemake builds its graph while files are hashed
        asked = pool.submit(planned_jobs.wanted, root)
        verified, wanted = verify(root), asked.result()
    judged = {verdict.path: _further(root, verdict, wanted, values, book, changed) for verdict in verified}
    judged |= {
        path: Verdict(path, "not made", f"rule {job.rule}") for path, job in wanted.items() if path not in judged
    }
    lines = [Verdict(Path(place), "ledger", "does not carry its own digest: it was edited") for place in book.edited]
    lines += [Verdict(Path(stage), "dvc.lock", line) for stage, line in dvc_lock.problems(root, values)]
    return [*(judged[path] for path in sorted(judged)), *lines]


def _further(root: Path, verdict: Verdict, wanted: dict, values: dict, book: Ledger, changed: set) -> Verdict:
    path = verdict.path
    if path not in wanted and path != VALID and _active(path, values) and verdict.word in (OK, "no record"):
        return Verdict(path, "no rule", verdict.detail)
    if verdict.word == "input absent" and not _active(path, values):
        return Verdict(path, "other model", verdict.detail)
    if verdict.word != OK:
        return verdict
    record = read_record(root, path)
    stale = planned_jobs.stale(record, wanted[path]) if path in wanted else None
    if stale:
        return Verdict(path, *stale)
    wrong = book.problem(path, record) or _false_commit(root, book.of(path, record), record)
    if wrong:
        return Verdict(path, "ledger", wrong)
    mine = sorted(changed & set(record.get("modules", ())))
    return Verdict(path, "uncommitted", ", ".join(mine)) if mine else verdict


def _active(path: Path, values: dict) -> bool:
    """Whether an artifact would have to be of the active run: not one of another model or original file that
    params.yaml has.
    """
    owner, others = model_of(path), {*values["models"], *values["fetch"]["files"]} - {*values["run"]["models"]}
    return owner not in others and not (owner == "original" and path.name in others)


def _false_commit(root: Path, entry: dict | None, record: dict) -> str | None:
    """What the commit that the ledger names has otherwise than the record, if the code was that of a commit that is
    here.
    """
    if not entry or entry["dirty"] or not entry["commit"]:
        return None
    other = code_versions.not_of_commit(root, entry["commit"], record.get("modules", {}))
    return f"commit {entry['commit'][:12]}, but there {', '.join(other)} is other code" if other else None


def read_record(root: Path, path: Path) -> dict:
    """The lineage record of an artifact. FileNotFoundError without one; ValueError if it was edited."""
    place = lineage.record_path(path)
    record = lineage.unsealed((root / place).read_text(encoding="utf-8", errors="replace"))
    if record is None:
        raise ValueError(f"{place} does not carry its own digest")
    return record


def report(verdicts: list[Verdict], every: bool = True) -> str:
    """A line per artifact (or per failure only) and a line that counts them."""
    shown = [verdict for verdict in verdicts if every or verdict.word in FAILURES]
    lines = [f"{word:<14} {path}" + (f"   {detail}" if detail else "") for path, word, detail in shown]
    meanings = NOTES | FAILURES
    counts = {word: sum(verdict.word == word for verdict in verdicts) for word in (OK, *meanings)}
    lines += [f"{counts[word]} {word}: {meanings[word]}" for word in meanings if counts[word]]
    total, noted = len(verdicts) - counts["dvc.lock"], counts["other model"]  # the lines of dvc.lock are of stages
    return "\n".join(
        [
            *lines,
            f"{total} artifacts, {counts[OK]} ok, "
            + (f"{noted} of other models, " if noted else "")
            + f"{total - counts[OK] - noted} failed"
            + (f", {counts['dvc.lock']} differences from dvc.lock" if counts["dvc.lock"] else ""),
        ]
    )
