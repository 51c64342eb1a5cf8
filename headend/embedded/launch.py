"""Ties a program's life to its parent's, then becomes that program; run as a script by :mod:`headend.embedded.spawn`.

It runs between fork and exec of the real program, in a process of its own, because code run there by the forking
process (``preexec_fn``) can dead-lock when that process has threads. It imports the standard library only, so that it
starts in some 20 ms with ``python -I -S``.

Arguments: parent pid, death signal, uid and gid (-1: stay who we are), then the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when the thread that forked it ends."""

EXIT_CANNOT_LAUNCH = 127


def main(arguments: list[str]) -> None:
    """Drop privileges where asked, ask for the death signal and exec the command; never returns.

    Exits with status 127 and a line on stderr when one of the steps is refused.
    """
    parent_pid, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    try:
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # After setuid: a change of credentials clears the death signal.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), "prctl")
        if os.getppid() != parent_pid:  # the parent died before the signal was asked for
            raise OSError(f"parent {parent_pid} is gone")
        # Python ignores these two, and an ignored signal stays ignored over exec.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot launch {command[0]}: {error}\n")
        sys.exit(EXIT_CANNOT_LAUNCH)


if __name__ == "__main__":
    main(sys.argv[1:])
