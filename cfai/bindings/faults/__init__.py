"""Faults around any binding: every way in which an answer fails in production, by name or by code.

```python
faults = FaultBinding(FakeBinding({model: "hi"}), "capacity:2")  # the next two calls are refused with 3040
```
"""

from cfai.bindings.faults.binding import FaultBinding
from cfai.bindings.faults.claim import Injected
from cfai.bindings.faults.fault import Fault, parse_faults
from cfai.bindings.faults.scenarios import CODES, SCENARIOS, Scenario

__all__ = ["CODES", "SCENARIOS", "Fault", "FaultBinding", "Injected", "Scenario", "parse_faults"]
