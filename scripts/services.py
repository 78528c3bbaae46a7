"""``make services``: install what the tests use and Python cannot bring: servers and browsers, from Debian."""

import os
import shutil
import subprocess
import sys

# The program that a package brings, looked for first: what is there is not installed again.
PACKAGES = {
    "postgresql": "/usr/lib/postgresql",
    "mariadb-server": "mariadbd",
    "redis-server": "redis-server",
    "nginx-light": "nginx",
    "chromium": "chromium",
    "fonts-noto-color-emoji": "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "curl": "curl",
}


def main() -> int:
    missing = [package for package, program in PACKAGES.items() if not is_there(program)]
    if not missing:
        print("All servers and browsers are installed.")
        return 0
    if shutil.which("apt-get") is None:
        print(f"This is not a Debian machine. Install by hand: {' '.join(missing)}", file=sys.stderr)
        return 1
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    # Debian starts a server as it installs it; the tests start their own.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    print(f"Installing {' '.join(missing)}", flush=True)
    for step in (["apt-get", "update", "-qq"], command):
        result = subprocess.run([*as_root, *step], env=environment, stdout=subprocess.DEVNULL, check=False)
        if result.returncode:
            return result.returncode
    return 0


def is_there(program: str) -> bool:
    return os.path.exists(program) if program.startswith("/") else shutil.which(program) is not None


if __name__ == "__main__":
    sys.exit(main())
