"""A place in Python packages is read as it is written, and nothing else passes for one."""

import pytest

from engram.settings import package_places
from engram.settings.package_places import Part


def test_parts_follow_one_another():
    assert package_places.parts("pypi:one==1.0/one/a") == [Part("one", "1.0", "one/a")]
    assert package_places.parts("pypi:a-b==2.0.post1/x/y.part00 + pypi:c==1!1+cpu/z") == [
        Part("a-b", "2.0.post1", "x/y.part00"),
        Part("c", "1!1+cpu", "z"),
    ]


@pytest.mark.parametrize(
    "place",
    [
        "pypi:one==1.0",
        "pypi:one/a",
        "pypi:one>=1.0/a",
        "pypi:one[extra]==1.0/a",
        "pypi:-r==1.0/a",
        "pypi:one==--pre/a",
        "pypi:one==1.0 --pre/a",
        "pypi:one==1.0//etc/passwd",
        "pypi:one==1.0/../a",
        "pypi:one==1.0/a/../../b",
        "pypi:one==1.0/./a",
        "pypi:one==1.0/a\\b",
        "pypi:one==1.0/a/",
        "pypi:one==1.0/a + ",
        "pypi:one==1.0/a + two==1.0/b",
        "pypi:one==1.0/a+pypi:two==1.0/b c",
        "pypi:one==1.0/a\n",
    ],
)
def test_what_is_no_place(place):
    with pytest.raises(ValueError, match=r"is not of the form pypi:<package>|leads out of the package"):
        package_places.parts(place)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("a_b-1.0-py3-none-any.whl", True),
        ("A.B-1.0-1-cp311-cp311-linux_x86_64.whl", True),
        ("a_b-1.0.1-py3-none-any.whl", False),
        ("a_b_c-1.0-py3-none-any.whl", False),
        ("a_b-1.0.tar.gz", False),
        ("a_b-1.0-py3-none-any.whl.part", False),
    ],
)
def test_wheels_are_known_by_their_names(name, right):
    assert package_places.is_wheel_of(name, Part("a-b", "1.0", "x")) == right


def test_the_command_names_each_package_once():
    place = "pypi:a==1/x + pypi:a==1/y + pypi:b==2/z"
    assert package_places.by_hand(place, ".downloads").endswith("--only-binary=:all: -d .downloads a==1 b==2")
