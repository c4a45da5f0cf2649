"""Tapes: what a binding answered, recorded chunk by chunk and played again.

binding.py      `TapeBinding`: records, or plays what is there
entries.py      what a tape holds
layout.py       a tape to text, `reading.py` back again, `file.py` the file of it
library.py      which entry answers a call, by what `normal.py` makes of both; `nearest.py` when none does
redaction.py    what is taken out before anything is written, `hashes.py` what stands in its place, `masking.py`
                    finds what chunks cut
streams.py      streams on their way to a tape, and from one
"""

from cfai.bindings.tape.binding import TapeBinding
from cfai.bindings.tape.errors import BadTape, NotOnTape, TapeEnds, TapeError, UntrueTape
from cfai.bindings.tape.modes import RecordMode, parse_record_mode
from cfai.bindings.tape.redaction import DEFAULT_RULES, Field, Pattern, Place, Prompts, Rule

__all__ = [
    "DEFAULT_RULES",
    "BadTape",
    "Field",
    "NotOnTape",
    "Pattern",
    "Place",
    "Prompts",
    "RecordMode",
    "Rule",
    "TapeBinding",
    "TapeEnds",
    "TapeError",
    "UntrueTape",
    "parse_record_mode",
]
