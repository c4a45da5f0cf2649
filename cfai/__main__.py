"""The command `cfai`, which Ctrl-C ends without a traceback, also while the commands are imported."""

import sys

INTERRUPTED = 130  # cfai.cli.options has it, too, and is among what is imported late


def main() -> None:
    try:
        from cfai.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
