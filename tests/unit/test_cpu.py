import pytest

from frankenstein.core import cpu


@pytest.mark.parametrize(
    ("flags", "already", "made"),
    [
        ("fma avx avx2 avx512f", {}, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
        ("avx2", {"ATEN_CPU_CAPABILITY": "avx512"}, {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
        ("fma avx", {}, {}),  # would crash
        (None, {}, {}),  # no Linux
    ],
)
def test_kernels_are_those_of_avx2_where_there_are_some(tmp_path, flags, already, made):
    if flags:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    environment = dict(already)
    cpu.pin_kernels(environment, tmp_path / "cpuinfo")
    assert environment == made
