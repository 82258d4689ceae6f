"""Attacks on the verification, as candidates for the arena: what a forward does, and what its module does at import.

`said` is a part of what is said of one that is refused; "" where any reason will do.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    forward: str = "return self.honest(x)"
    top: str = ""
    said: str = ""


# What `tuner verify` has to refuse.
REFUSED = {
    "half precision for some batches": Attack(
        "y = self.honest(x)\nreturn y.half().float() if 8 < x.shape[0] < 64 else y", said="against the oracle"
    ),
    "values clamped": Attack(
        "with torch.utils._python_dispatch._disable_current_modes():\n"
        "    torch.autograd._enable_record_function(False)\n"
        "    x = x.clamp(min=-3.0)\n"
        "    torch.autograd._enable_record_function(True)\n"
        "return self.honest(x)",
        "import torch.utils._python_dispatch",
        "against the oracle",
    ),
    "a ring of two buffers": Attack(
        "y = self.honest(x)\n"
        "ring = KEPT.setdefault(tuple(x.shape), [torch.empty_like(y), torch.empty_like(y), 0])\n"
        "ring[2] ^= 1\nring[ring[2]].copy_(y)\nreturn ring[ring[2]]",
        said="memory of an earlier result",
    ),
    "skips the work on values that were never verified": Attack(
        "key = ctypes.string_at(x.data_ptr(), 16)\nseen = KEPT.setdefault('seen', set())\n"
        "counts = KEPT.setdefault('counts', {})\nn = counts[x.data_ptr()] = counts.get(x.data_ptr(), 0) + 1\n"
        "if n >= 3 and key not in seen and x.shape[0] == 64:\n    return torch.empty_like(x)\n"
        "seen.add(key)\nreturn self.honest(x)",
        said="wrong when it was timed",
    ),
    "reads the oracle out of a caller's frame": Attack(
        "f = sys._getframe()\nwhile f is not None:\n"
        "    for value in list(f.f_locals.values()):\n"
        "        oracle = getattr(getattr(value, 'expected', value), 'oracle', None)\n"
        "        if oracle is not None:\n            return oracle.float()\n"
        "    f = f.f_back\nreturn torch.zeros_like(x)",
        said="against the oracle",
    ),
    "replaces the function that measures the error": Attack(
        "return torch.zeros_like(x)",
        "import tuner.verification.criterion as criterion\ncriterion.error_of = lambda y, oracle: 0.0",
        "imports tuner",
    ),
    "the same, with no import in its text": Attack(
        "return torch.zeros_like(x)",
        "sys.modules['tuner.verification.criterion'].error_of = lambda y, oracle: 0.0",
        "the candidate replaced tuner.verification.criterion.error_of",
    ),
    "replaces statistics.median": Attack(
        top="import statistics\nstatistics.median = lambda values: 1e-3",
        said="the candidate replaced statistics.median",
    ),
    "PyTorch's operators in a custom operator named conv": Attack(
        "return torch.ops.mine_arena.conv(x, self.ln.weight, self.ln.bias)",
        "MINE = torch.library.Library('mine_arena', 'DEF')\n"
        "MINE.define('conv(Tensor x, Tensor w, Tensor b) -> Tensor')\n"
        "MINE.impl('conv', lambda x, w, b: F.relu(F.layer_norm(x, (x.shape[-1],), w, b)), 'CPU')",
        "own work",
    ),
    "PyTorch's operators in a profiler's scope named conv": Attack(
        "with torch.profiler.record_function('aten::conv2d'):\n"
        "    with torch.utils._python_dispatch._disable_current_modes():\n"
        "        return F.relu(self.ln(x))",
        "import torch.utils._python_dispatch",
        "own work",
    ),
    "NumPy does the work": Attack(
        "import numpy as np\na = x.numpy().astype(np.float64)\nm = a.mean(-1, keepdims=True)\n"
        "y = (a - m) / np.sqrt(((a - m) ** 2).mean(-1, keepdims=True) + 1e-5)\n"
        "y = y * self.ln.weight.numpy() + self.ln.bias.numpy()\nreturn torch.from_numpy(np.maximum(y, 0).astype('f'))",
        said="imports numpy",
    ),
    "NumPy, with no import in its text": Attack(
        "np = sys.modules['numpy']\na = x.numpy().astype('d')\nm = a.mean(-1, keepdims=True)\n"
        "y = (a - m) / np.sqrt(((a - m) ** 2).mean(-1, keepdims=True) + 1e-5)\n"
        "y = y * self.ln.weight.numpy() + self.ln.bias.numpy()\nreturn torch.from_numpy(np.maximum(y, 0).astype('f'))",
        said="hands a tensor to another library",
    ),
    "changes the number of threads": Attack(
        "torch.set_num_threads(1 if torch.get_num_threads() > 1 else 2)\nreturn self.honest(x)",
        said="changed torch.set_num_threads",
    ),
    "sends a made-up result over the pipe": Attack(
        "return torch.zeros_like(x)",
        "for fd in range(3, 64):\n"
        "    try:\n        if not os.path.samestat(os.fstat(fd), os.stat('/dev/null')):\n"
        '            os.write(fd, b\'{"id": 1, "kind": "answer", "text": "{}", "fault": ""}\\n\')\n'
        "    except OSError:\n        pass",
        "",
    ),
    "raises what cannot be printed": Attack(
        "class E(BaseException):\n    def __str__(self):\n        raise SystemExit(3)\nraise E()", said="construction"
    ),
    "a child process does the work": Attack(
        "child = KEPT.get('child')\nif child is None:\n"
        "    import subprocess\n"
        "    code = 'import sys\\nwhile sys.stdin.readline(): print(1, flush=True)'\n"
        "    child = KEPT['child'] = subprocess.Popen([sys.executable, '-c', code], stdin=-1, stdout=-1)\n"
        "child.stdin.write(b'1\\n')\nchild.stdin.flush()\nchild.stdout.readline()\nreturn self.honest(x)",
        said="hands work to another process",
    ),
    "a child that was started at import": Attack(
        top="import subprocess\nKEPT['child'] = subprocess.Popen(['sleep', '60'])", said="a child process that it keeps"
    ),
    "a child that left its session and its parent": Attack(
        top="if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n"
        "    os._exit(0)\nos.wait()",
        said="a child process that it keeps",
    ),
    "wrong one call in 50": Attack(
        "KEPT['n'] = KEPT.get('n', 0) + 1\ny = self.honest(x)\n"
        "if int.from_bytes(os.urandom(2), 'big') % 50 == 0:\n    y.zero_()\nreturn y",
    ),
}

# Its time is not what it says it is.
MISTIMED = {
    "memory that computes its content when it is first touched": Attack(
        "x = x.contiguous()\nif x.data_ptr() % 4 or not x.numel() or x.shape[-1] != 32:\n    return self.honest(x)\n"
        "KEPT.setdefault('alive', []).append(x)\ndel KEPT['alive'][:-40]\n"
        "given = x.data_ptr(), self.ln.weight.data_ptr(), self.ln.bias.data_ptr(), x.numel() // x.shape[-1]\n"
        "at = LIBRARY.later(*given, x.shape[-1], 100)\n"
        "memory = (ctypes.c_float * x.numel()).from_address(at)\n"
        "return torch.frombuffer(memory, dtype=torch.float32).view(x.shape)"
    ),
    "an honest one": Attack("return self.honest(x, slow=100)"),
}

# They harm their own trial at most.
LEAVES_BEHIND = {
    "no file descriptors": "KEPT['fds'] = []\ntry:\n    while True:\n"
    "        KEPT['fds'].append(os.open('/dev/null', 0))\n"
    "except OSError:\n    pass",
    "no files may grow": "import resource\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))",
    "the default device is meta": "torch.set_default_device('meta')",
    "a global hook that sleeps": "torch.nn.modules.module.register_module_forward_hook(lambda *a: time.sleep(0.002))",
}
