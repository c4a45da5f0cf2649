"""The command `cfai`, which Ctrl-C ends without a traceback, also while the commands are imported."""

import sys

FAILED, INTERRUPTED = 1, 130  # cfai.cli.endings has them, too, and is among what is imported late


def main() -> None:
    try:
        from cfai.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        from cfai.packages import problem_of

        if (found := problem_of(error)) is None:
            raise
        problem, command = found
        sys.stderr.write(f"error: {problem}\ntry: {command}\n")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
