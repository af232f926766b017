"""Which features which kernels can map: an old number convicts only a kernel that is as it was released."""

import pytest

from diagnostics.facts.krbd import Support, support_of

ALL = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")


@pytest.mark.parametrize(
    ("kernel", "features", "support"),
    [
        ("5.15.0-91-generic", ALL, Support()),
        ("5.3.0", ALL, Support()),
        ("5.2.21", ALL, Support(("fast-diff", "object-map"))),
        ("5.0.0-1", ALL, Support(("deep-flatten", "fast-diff", "object-map"))),
        ("4.8.17", ("layering", "exclusive-lock"), Support(("exclusive-lock",))),
        ("4.9.0", ("layering", "exclusive-lock"), Support()),
        ("4.10.1", ("data-pool",), Support(("data-pool",))),
        ("10.1.0", ALL, Support()),
        ("6.8.0", ("journaling", "layering"), Support(("journaling",))),
        ("4.16.0", ("striping", "journaling"), Support(("journaling",), ("striping",))),
        ("3.2.0", ("striping",), Support(("striping",))),
        ("4.18.0-553.el8_10.x86_64", (*ALL, "journaling"), Support(("journaling",), ("deep-flatten", "fast-diff", "object-map"))),
        ("5.14.0-427.el9.x86_64", ALL, Support()),
        ("4.12.14-122-default", ("object-map",), Support((), ("object-map",))),
        ("", ("layering", "migrating"), Support(("migrating",), ("layering",))),
        ("fancy", ("from-the-future",), Support()),
        ("4.4.0", ("from-the-future", "non-primary"), Support()),
        ("4.4.0", (), Support()),
    ],
)  # fmt: skip
def test_a_kernel_is_judged_by_its_version_only_as_far_as_that_tells(
    kernel: str, features: tuple[str, ...], support: Support
) -> None:
    assert support_of(kernel, features) == support
