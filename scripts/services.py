"""``make services``: install what the tests use and Python cannot bring: servers and browsers, from Debian."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The program that a package brings, looked for first: what is there is not installed again.
PACKAGES = {
    "postgresql": "/usr/lib/postgresql",
    "mariadb-server": "mariadbd",
    "redis-server": "redis-server",
    "nginx-light": "nginx",
    "libnginx-mod-nchan": "/usr/lib/nginx/modules/ngx_nchan_module.so",  # a peer in `make bench`
    "chromium": "chromium",
    "chromium-headless-shell": "chromium-headless-shell",  # the same engine at a quarter of the cost for each page
    "firefox-esr": "firefox-esr",
    "webkit2gtk-driver": "WebKitWebDriver",
    "xvfb": "Xvfb",  # WebKitGTK wants a display
    "fonts-noto-color-emoji": "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "curl": "curl",
    "iproute2": "ip",  # a network of its own, that swallows what it is sent
    "gcc": "cc",  # for the floor of `make bench`
    "libc6-dev": "/usr/include/stdio.h",
    "nodejs": "node",
    "npm": "npm",
    "pgbouncer": "pgbouncer",
}

# What is from npm is there at the versions and hashes of the lock file.
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    return install_packages() or install_node_modules()


def install_packages() -> int:
    missing = [package for package, program in PACKAGES.items() if not is_there(program)]
    if not missing:
        print("All servers and browsers are installed.")
        return 0
    if "chromium-headless-shell" in missing:
        missing.append("chromium")  # the two have to be of one version, so that an old one is upgraded
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


def install_node_modules() -> int:
    return subprocess.run(["make", "--silent", "node_modules"], cwd=ROOT, check=False).returncode


def is_there(program: str) -> bool:
    return os.path.exists(program) if program.startswith("/") else shutil.which(program) is not None


if __name__ == "__main__":
    sys.exit(main())
