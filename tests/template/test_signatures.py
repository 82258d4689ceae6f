"""Signatures of C functions, read from text that no compiler has seen."""

from __future__ import annotations

import pytest

from tuner.template.signatures import place, signatures, without_comments


def read(text: str) -> dict[str, str]:
    return {name: str(signature) for name, signature in signatures(text).items()}


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ("const float* x, float *y, void* stream", "float* x, float* y, void* stream"),
        ("const float* __restrict__ x, float * const y", "float* x, float* y"),
        ("float x[], const double weights[3]", "float* x, double* weights"),
        ("long long n, unsigned n2, long unsigned int n3", "long long n, unsigned int n2, unsigned long n3"),
        ("std::size_t n, int64_t m, const std::uint8_t* mask", "unsigned long n, long long m, unsigned char* mask"),
        ("const __half* a, __nv_bfloat16* b, cudaStream_t s", "half* a, bfloat16* b, void* stream"),
        ("const double eps = 1e-5, bool flag = (1 < 2)", "double eps, bool flag"),
        ("float, long long, void*", "float _0, long long _1, void* stream"),
        ("std::pair<int, float>* pairs, int n", "unknown* pairs, int n"),
        ("float2* pairs, float** rows", "float2* pairs, float** rows"),
        ("void", ""),
        ("", ""),
        ("float* x, // the input, (N, C)\n      /* rows, */ int n", "float* x, int n"),
    ],
)
def test_parameters_are_read(parameters: str, wanted: str) -> None:
    assert read(f'extern "C" int run({parameters}) {{ return 0; }}') == {"run": f"int({wanted})"}


@pytest.mark.parametrize(
    "head",
    [
        'extern "C" int run',
        'extern  "C"\nint\nrun ',
        'extern "C" __attribute__((visibility("default"))) int run',
        'extern "C" [[nodiscard]] inline int run',
        'extern "C" cudaError_t run',
        '#define API extern "C"\nAPI int run',
        '#define API extern "C" __attribute__((used))\nAPI int run',
        'typedef int status;\nextern "C" status run',
    ],
)
def test_what_stands_around_a_function_is_seen_through(head: str) -> None:
    assert read(f"{head}(float* x) {{ return 0; }}") == {"run": "int(float* x)"}


def test_a_block_exports_all_that_is_in_it() -> None:
    text = 'extern "C" {\nint one(int n) { if (n) { return 1; } return 0; }\nvoid two(float* x);\n}\nint three(int n);'
    assert read(text) == {"one": "int(int n)", "two": "void(float* x)"}


def test_a_trailing_return_type_is_one() -> None:
    assert read('extern "C" auto run(int n) -> int { return n; }') == {"run": "int(int n)"}


@pytest.mark.parametrize(
    "definition",
    [
        "typedef float scalar;",
        "using scalar = float;",
        "#define scalar float",
        "#define scalar float\n#ifndef scalar\n#define scalar double\n#endif",
        "using real = float;\nusing scalar = real;",
    ],
)
def test_a_type_by_another_name_is_that_type(definition: str) -> None:
    assert read(f'{definition}\nextern "C" int run(const scalar* x, scalar y) {{}}') == {
        "run": "int(float* x, float y)"
    }


def test_a_default_counts_where_nothing_was_defined_ahead() -> None:
    text = '#ifndef SCALAR\n#define SCALAR half\n#endif\nextern "C" int run(SCALAR* x) {}'
    assert read(text) == {"run": "int(half* x)"}
    assert read("#define SCALAR float\n" + text) == {"run": "int(float* x)"}


def test_an_element_keeps_its_short_name_though_a_source_defines_it() -> None:
    text = "using bfloat16 = __nv_bfloat16;\nusing half = std::uint16_t;\nusing Element = bfloat16;\n"
    assert read(text + 'extern "C" int run(const Element* x, half* y) {}') == {"run": "int(bfloat16* x, half* y)"}


def test_a_type_that_depends_makes_a_pointer_to_anything_and_no_number() -> None:
    text = "#if WIDE\nusing T = double;\n#else\nusing T = float;\n#endif\n"
    assert read(text + 'extern "C" int run(T* x) {}') == {"run": "int(unknown* x)"}
    assert read(text + 'extern "C" int run(T x) {}') == {}


@pytest.mark.parametrize(
    "text",
    [
        'extern "C" int run(Options options) {}',
        'extern "C" int run(int& n) {}',
        'extern "C" int run(int (*callback)(int)) {}',
        '#if A\nextern "C" int run(int n) {}\n#else\nextern "C" int run(float x) {}\n#endif',
        'extern "C" __global__ void run(float* x) {}',
        '// extern "C" int run(int n) {}',
        '/* extern "C" int run(int n) {} */',
        'extern "C" int run;',
        "int run(int n) {}",
        'extern "C"',
        'extern "C" {',
    ],
)
def test_what_cannot_be_told_has_no_signature(text: str) -> None:
    assert read(text) == {}


def test_the_stream_is_no_argument() -> None:
    found = signatures('extern "C" int one(int n, void* stream) {}\nextern "C" int two(int n, float* out) {}')
    assert [len(found[name].arguments) for name in ("one", "two")] == [1, 2]
    assert [found[name].takes_stream for name in ("one", "two")] == [True, False]


def test_a_signature_says_where_it_stands() -> None:
    text = '#line 1 "a.cu"\n\n#line 7 "b.cuh"\n// more\nextern "C" int run(int n) {}\n'
    assert (signatures(text)["run"].file, signatures(text)["run"].line) == ("b.cuh", 8)
    assert place("one\ntwo", 4) == ("", 2)


def test_comments_go_and_lines_stay() -> None:
    assert without_comments("f('\"'); // \"") == "f('\"');     "
    assert without_comments('a // b\n/* c\n d */ "// e"') == 'a     \n    \n      "// e"'
