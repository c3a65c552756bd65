"""Known vulnerabilities of the pinned packages, as pip-audit finds them; what could not be asked for is said, and never
passes as "none". Never imports torch.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LOCK = Path("requirements.lock")
NONE, FOUND, NOT_DONE = 0, 1, 3  # exit statuses


def ask(lock: Path = LOCK, command: Sequence[str] | None = None) -> int:
    """Audit the lock; 0: every package was asked about and none is affected, 1: one is, 3: not all could be asked
    about.
    """
    command = command or [
        str(Path(sys.executable).parent / "pip-audit"),
        "--requirement",
        str(lock),
        "--no-deps",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "--format",
        "json",
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = run.stderr.strip().splitlines() or ["no answer"]
        print(
            f"NOT AUDITED: {lock} could not be audited, so nothing is known of vulnerabilities: {lines[-1]}",
            file=sys.stderr,
        )
        return NOT_DONE
    affected = [package for package in packages if package.get("vulns")]
    skipped = [package for package in packages if "skip_reason" in package]
    for package in affected:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}", file=sys.stderr)
    print(f"{lock}: {len(packages)} packages, {len(packages) - len(skipped)} asked about, {len(affected)} vulnerable")
    if skipped:
        print(
            f"NOT AUDITED: {len(skipped)} packages that the service does not know, as a mirror without advisories does "
            "not: "
            f"{', '.join(package['name'] for package in skipped[:5])}{' …' if len(skipped) > 5 else ''}. Nothing is "
            "known of vulnerabilities in them; run `engram advisories` where pypi.org can be reached",
            file=sys.stderr,
        )
    return FOUND if affected else NOT_DONE if skipped else NONE
