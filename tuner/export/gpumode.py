"""GPU MODE's leaderboards: one `submission.py` with `custom_kernel(data)`.

What `data` is each task says for itself; here it is the inputs, then parameters and buffers in the order of the
reference's state_dict, as a tuple, or the one tensor where there is but one.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuner.export.form import LOADED, ONE_CALL, Form, Interface, arguments, function
from tuner.records import Record
from tuner.template.render import Candidate


def form(records: Sequence[Record], candidate: Candidate, interface: Interface) -> Form:
    """The submission, whose kernels are built for its one constructor call."""
    inputs, state = arguments(interface)
    text = "\n\n".join(
        [
            candidate.text.rstrip("\n"),
            function(records[0].workload),
            _CUSTOM.format(names=", ".join([*inputs, *state]), count=len(inputs)),
        ]
    )
    probe = f"import json\n{LOADED}{_PROBE}{ONE_CALL.replace('@CALL@', _CALL)}"
    return Form(files={"submission.py": text}, probe=probe)


_CUSTOM = '''
def custom_kernel(data):
    """`data`: ({names}), or the tensor alone where there is one."""
    tensors = data if isinstance(data, (tuple, list)) else (data,)
    return _called(tensors[:{count}], tensors[{count}:])
'''

_PROBE = """\
exported = _file("submission.py")
preload = exported.preload
"""

_CALL = "exported.custom_kernel((*inputs, *self.state_dict(keep_vars=True).values()))"
