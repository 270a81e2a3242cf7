"""Becomes a server: gives up privileges, ties its life to the parent's, then execs.

Run by path with `python -I -S`, before any server; never imported by the project (it
uses the standard library only, since it runs without the project's environment).
A small program of its own, because none of this is safe between fork and exec of a
process that has threads.

Privileges. PostgreSQL refuses to run as root. Started by root, the server runs as
another user. That user may be unable to enter root's home (0700), where data and
programs can be. Nothing is opened to others for that; instead the process keeps one
capability, the weakest that suffices: none, else CAP_DAC_READ_SEARCH, else
CAP_DAC_OVERRIDE (containers often lack the former). It is kept as an *ambient*
capability, which survives execve; see capabilities(7). SECBIT_NO_SETUID_FIXUP is set
with it, since access(2), by which PostgreSQL looks for its own programs, otherwise
ignores the capabilities of users other than root.

Life. PR_SET_PDEATHSIG (Linux) sends the server a signal when the *thread* that started
it ends, hence also when the parent is killed. It is cleared by a change of user, so it
is set after that, and the parent may have gone by then, so it is compared afterwards.
Elsewhere (`--watch`) this process stays, forwards signals, and stops the server when
the other end of its standard input closes.
"""

import argparse
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAP_SETPCAP = 8
_HANDED_OVER = 3
# Nothing of the caller's environment may steer a server (PGDATA, PGPORT, locale).
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _check(result: int, doing: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{doing}: {os.strerror(number)}")


def _prctl(doing: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = (*arguments, 0, 0, 0, 0)[:5]
    _check(libc.prctl(*[ctypes.c_ulong(value) for value in padded]), doing)


def _hold(capability: int) -> None:
    """Make `capability` effective and ambient; raises OSError when it is not ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    _check(libc.capget(ctypes.byref(header), data), "capget")
    # Permitted stays as it is for now: execve cuts it down to the ambient set.
    data[0].effective = 1 << capability | 1 << _CAP_SETPCAP
    data[0].inheritable = 1 << capability
    data[1].effective = data[1].inheritable = 0
    _check(libc.capset(ctypes.byref(header), data), "capset")
    _prctl("securebits", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    _prctl("ambient", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _out_of_reach(paths: list[str]) -> str | None:
    return next((path for path in paths if not os.access(path, os.X_OK)), None)


def become(uid: int, gid: int, reach: list[str]) -> None:
    """Turn from root into `uid`, able to enter or execute every path of `reach`."""
    _prctl("keepcaps", _PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if _out_of_reach(reach) is None:
            return
        try:
            _hold(capability)
        except OSError as error:
            print(f"capability {capability} is not available: {error}", file=sys.stderr)
    missing = _out_of_reach(reach)
    if missing is not None:
        raise SystemExit(f"{missing} cannot be reached by user {uid}")


def _hand_over(listener: int) -> Mapping[str, str]:
    """Make a listening socket the first descriptor of the server; see sd_listen_fds(3)."""
    os.dup2(listener, _HANDED_OVER)
    if listener != _HANDED_OVER:
        os.close(listener)
    return {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}


def _die_with(parent: int, death_signal: int) -> None:
    _prctl("pdeathsig", _PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        raise SystemExit("the parent ended before the server started")


def _watch(
    command: list[str], environment: Mapping[str, str], death_signal: int
) -> NoReturn:
    child = os.posix_spawn(command[0], command, environment)

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    def wait_for_the_parent() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(child, death_signal)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, forward)
    threading.Thread(target=wait_for_the_parent, daemon=True).start()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--cwd", required=True)
    parser.add_argument("--user", type=int, nargs=2, metavar=("UID", "GID"))
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--listener", type=int)
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--inherit", action="store_true")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> NoReturn:
    options = _options(arguments)
    os.umask(0o077)
    # A signal that the caller blocks would stay blocked in the server.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.nice(options.nice)
    if options.user is not None:
        uid, gid = options.user
        become(uid, gid, [options.command[0], options.cwd])
    os.chdir(options.cwd)
    # Edges and workers, which are ours, are told everything by their environment.
    inherited = os.environ  # noqa: TID251 - an entry point
    environment = inherited if options.inherit else _ENVIRONMENT
    if options.watch:
        _watch(options.command, environment, options.signal)
    _die_with(options.parent, options.signal)
    if options.listener is not None:
        environment = {**environment, **_hand_over(options.listener)}
    os.execve(options.command[0], options.command, environment)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
