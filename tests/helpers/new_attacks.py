"""Further attacks on the verification, by what each goes for. As in attacks.py."""

from __future__ import annotations

from helpers.attacks import Attack

# The bench itself, in whose process a candidate runs. `found(name)` looks an object of it up.
FOUND = """
def found(kind):
    return next(o for o in gc.get_objects() if type(o).__name__ == kind)


def frames():
    f = sys._getframe()
    while f is not None:
        yield f
        f = f.f_back


def plan():
    return next((f.f_locals['plan'] for f in frames() if 'plan' in f.f_locals), None)


files = sys.modules['tuner.verification.tensor_files']
state = sys.modules['tuner.measurement.process_state']
"""
BLIND = f"{FOUND}\nstate.tampered.__code__ = (lambda: None).__code__\n"

BENCH = {
    "the answer is computed when it is handed in": Attack(
        "KEPT['late'] = self, x.clone()\nreturn torch.zeros_like(x)",
        FOUND + "\ngive = files.give\n"
        "def late(answer, folder, number):\n"
        "    model, x = KEPT['late']\n"
        "    answer.tensors[0].copy_(model.honest(x))\n"
        "    return give(answer, folder, number)\n"
        "files.give = late\n",
        "the candidate replaced tuner.verification.tensor_files.give",
    ),
    "another code in a function": Attack(
        "return self.honest(x)",
        FOUND + "\nfiles.described.__code__ = (lambda x: None).__code__\n",
        "the candidate replaced tuner.verification.tensor_files.described",
    ),
    "json.dumps": Attack(top="json.dumps = lambda *a, **k: '{\"times_ms\": [1e-9]}'", said="sent what is no answer"),
    "the look at what was replaced is blinded, and the clock of the bench is a thousandth": Attack(
        "if not KEPT:\n    KEPT['clock'] = True\n    clock = sys.modules['tuner.backends.cpu'].WallClock\n"
        "    begin = time.perf_counter\n    clock.__init__.__defaults__ = (lambda: begin() / 1000,)\n"
        "return self.honest(x, slow=100)",
        BLIND,
        "by a clock that it cannot reach",
    ),
    "a clock that stands still": Attack(
        "sys.modules['tuner.backends.cpu'].WallClock.__init__.__defaults__ = (lambda: 0.0,)\nreturn self.honest(x)",
        BLIND,
        "0 ms is no time that a forward takes",
    ),
    "the first timed forward computes all that will be asked": Attack(
        "p = plan()\n"
        "if p is None or len(p.values) < 2:\n    return self.honest(x, slow=100)\n"
        "if KEPT.get('plan') is not p:\n"
        "    from_ = next(f.f_locals['timer'] for f in frames() if 'timer' in f.f_locals)\n"
        "    perturb = sys.modules['tuner.verification.perturbation'].perturbed\n"
        "    KEPT['plan'], KEPT['ready'] = p, [self.honest(*perturb(from_.base, by), slow=100) for by in p.values]\n"
        "    KEPT['next'] = iter(KEPT['ready'])\n"
        "return next(KEPT['next'])",
        FOUND,
        "by a clock that it cannot reach",
    ),
    "no work is reported": Attack(
        "with torch.utils._python_dispatch._disable_current_modes():\n    return F.relu(self.ln(x))",
        "import torch.utils._python_dispatch\noperators = sys.modules['tuner.verification.operators']\n"
        "operators.Everywhere.__exit__ = lambda *a: None\n",
        "the candidate replaced tuner.verification.operators.Everywhere.__exit__",
    ),
    "a module of the bench is another": Attack(
        top="import types\nsys.modules['tuner.verification.guards'] = types.ModuleType('guards')",
        said="the candidate replaced tuner.verification.guards",
    ),
}

# What is asked, and when it is asked: right only where it is looked at.
TELLS = {
    "right only between guard zones": Attack(
        "if x.untyped_storage().nbytes() == x.nbytes:\n    return torch.zeros_like(x)\nreturn self.honest(x)",
        said="wrong when it was timed",
    ),
    "right only for the bench's own calls": Attack(
        "sat = any(f.f_code.co_name == 'sit' for f in frames())\nreturn self.honest(x) if sat else torch.zeros_like(x)",
        FOUND,
        "wrong when it was timed",
    ),
    "right only for answers that are kept": Attack(
        "p = plan()\nif p is None:\n    return self.honest(x)\n"
        "n = KEPT[id(p)] = KEPT.get(id(p), -1) + 1\n"
        "return self.honest(x) if n in p.keep[:1] else torch.zeros_like(x)",
        FOUND,
        "timed",
    ),
    "remembers by content": Attack(
        "key = ctypes.string_at(x.data_ptr(), 64)\nif key not in KEPT:\n    KEPT[key] = self.honest(x)\n"
        "return KEPT[key].clone()",
        said="against the oracle",
    ),
    "right only where the input is contiguous": Attack(
        "return self.honest(x) if x.is_contiguous() else torch.zeros_like(x)", said="case H"
    ),
    "right only where the input is aligned": Attack(
        "return self.honest(x) if x.data_ptr() % 16 == 0 else torch.zeros_like(x)", said="case H offset of one element"
    ),
    "wrong from its 900th call on": Attack(
        "KEPT['n'] = KEPT.get('n', 0) + 1\nreturn self.honest(x) if KEPT['n'] < 900 else torch.zeros_like(x)",
        said="repeats",
    ),
    "slow on other values than the timed ones": Attack(
        "return self.honest(x, slow=200 if max((ctypes.c_float * x.numel()).from_address(x.data_ptr())) > 1.5 else 1)",
        said="on values of other scales",
    ),
}

# What comes back.
ANSWERS = {
    "an answer that changes after it was returned": Attack(
        "y = self.honest(x)\n"
        "if any(f.f_code.co_name == 'run' and 'plan' in f.f_locals for f in frames()):\n"
        "    KEPT.setdefault('all', []).append(y)\n"
        "    if len(KEPT['all']) % 20 == 0:\n        KEPT['all'][-5].zero_()\n"
        "return y",
        FOUND,
    ),
    "its answer in the memory of its input": Attack(
        "y = self.honest(x)\nif x.untyped_storage().nbytes() != x.nbytes:\n    return y\nx.copy_(y)\nreturn x",
    ),
    "a ring of 64 buffers": Attack(
        "y = self.honest(x)\nring = KEPT.setdefault(tuple(x.shape), [torch.empty_like(y) for _ in range(64)])\n"
        "ring.append(ring.pop(0))\nring[-1].copy_(y)\nreturn ring[-1]",
        said="repeats",
    ),
    "a thread finishes the work": Attack(
        "y = torch.empty_like(x)\n"
        "def later():\n    time.sleep(0.005)\n    y.copy_(self.honest(x))\n"
        "threading.Thread(target=later).start()\nreturn y",
    ),
    "a subclass that computes when it is read": Attack(
        "class Late(torch.Tensor):\n"
        "    @classmethod\n    def __torch_function__(cls, f, types, args=(), kwargs=None):\n"
        "        return f(*[a.done() if isinstance(a, cls) else a for a in args], **(kwargs or {}))\n"
        "y = torch.zeros_like(x).as_subclass(Late)\ny.done = lambda: self.honest(x)\nreturn y",
        said="returned a Late, not a plain tensor",
    ),
    "a tensor on meta": Attack("return torch.empty(x.shape, device='meta')"),
    "a sparse tensor": Attack("return self.honest(x).to_sparse()"),
    "a quantized tensor": Attack("return torch.quantize_per_tensor(self.honest(x), 0.1, 0, torch.quint8)"),
    "no tensor at all": Attack("return None"),
    "a list that holds itself": Attack("y = []\ny.append(y)\nreturn y"),
    "complex numbers": Attack("return self.honest(x).to(torch.complex64)"),
    "one sample too many": Attack(
        "y = self.honest(x)\nreturn torch.cat([y, y[:1]])", said="shape (65, 32), expected (64, 32)"
    ),
    "buffers that the reference does not have": Attack(
        top="init = Base.__init__\n"
        "def more(self, d):\n    init(self, d)\n    self.register_buffer('more', torch.zeros(3))\n"
        "Base.__init__ = more",
        said="parameters are",
    ),
    "a FIFO where the answer should be": Attack(
        "return self.honest(x)",
        BLIND + "\ngive = files.give\n"
        "def pipe(answer, folder, number):\n"
        "    given = give(answer, folder, number)\n"
        "    path = folder / f'{number}-0'\n    path.unlink()\n    os.mkfifo(path)\n    return given\n"
        "files.give = pipe\n",
        "an answer is no plain file",
    ),
    "a link to an endless file": Attack(
        "return self.honest(x)",
        BLIND + "\ngive = files.give\n"
        "def link(answer, folder, number):\n"
        "    given = give(answer, folder, number)\n"
        "    path = folder / f'{number}-0'\n    path.unlink()\n    path.symlink_to('/dev/zero')\n    return given\n"
        "files.give = link\n",
        "an answer is not there",
    ),
    "a terabyte, said and given": Attack(
        "return self.honest(x)",
        BLIND + "\ngive = files.give\nimport dataclasses\n"
        "def huge(answer, folder, number):\n"
        "    given = give(answer, folder, number)\n"
        "    if len(given.tensors) > 1:\n        return given\n"
        "    os.truncate(folder / f'{number}-0', 2**40)\n"
        "    return dataclasses.replace(given, tensors=(dataclasses.replace(given.tensors[0], shape=(2**38,)),))\n"
        "files.give = huge\n",
        "shape (274877906944,), expected (64, 32)",
    ),
    "sizes below zero": Attack(
        "return self.honest(x)",
        BLIND + "\ngive = files.give\nimport dataclasses\n"
        "def less(answer, folder, number):\n"
        "    given = give(answer, folder, number)\n"
        "    if len(given.tensors) > 1:\n        return given\n"
        "    return dataclasses.replace(given, tensors=(dataclasses.replace(given.tensors[0], shape=(-64, -32)),))\n"
        "files.give = less\n",
        "shape (-64, -32), expected (64, 32)",
    ),
    "more answers than asked for": Attack(
        "return self.honest(x)",
        BLIND + "\nimport dataclasses\nSitting = sys.modules['tuner.measurement.bench'].Sitting\n"
        "init = Sitting.__init__\n"
        "def more(self, answers=(), *rest, **named):\n    init(self, answers * 50, *rest, **named)\n"
        "Sitting.__init__ = more\n",
    ),
}

# What runs when the candidate is loaded; the next candidate's trial is as if it had not been there.
HARM = {
    "kills the process that it was forked from": "try:\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    "except PermissionError:\n    pass",
    "writes over every paper": "import pathlib\n"
    "for f in pathlib.Path(os.environ['TORCH_EXTENSIONS_DIR']).parent.glob('papers/*'):\n"
    "    f.chmod(0o600)\n    f.write_bytes(b'\\0' * f.stat().st_size)",
    "removes every paper": "import glob, pathlib\n"
    "for f in pathlib.Path(os.environ['TORCH_EXTENSIONS_DIR']).parent.glob('papers/*'):\n    f.unlink()",
    "takes the lock of the device": "import fcntl, glob, pathlib\n"
    "f = open(pathlib.Path(os.environ['TORCH_EXTENSIONS_DIR']).parent / 'lock', 'w')\n"
    "threading.Thread(target=lambda: fcntl.flock(f, fcntl.LOCK_EX), daemon=True).start()",
    "closes its pipe": "os.closerange(3, 64)",
    "an alarm": "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "many children": "for _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(100)",
    "threads that spin": "for _ in range(2):\n"
    "    threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()",
    "hooks at exit": "import atexit\natexit.register(lambda: time.sleep(100))\n"
    "atexit.register(lambda: os.kill(os.getppid(), 9))",
    "another environment": "os.environ.update(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', PATH='', TMPDIR='/no')",
    "leaves the working folder": "os.chdir('/')\nos.umask(0o777)",
    "no memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**20, 2**20))",
    "its log is a pipe": "import glob\nlog = os.readlink('/proc/self/fd/1')\nos.unlink(log)\nos.mkfifo(log)",
    "prints without end": "for _ in range(2000):\n    print('x' * 10000)",
    "exits": "os._exit(0)",
    "crashes": "ctypes.string_at(0)",
}
