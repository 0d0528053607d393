"""The parts of the test cluster that need no cluster."""

from pathlib import Path

import pytest

from e2e.cluster.base import Source, find_source
from e2e.cluster.images import copied_files
from e2e.cluster.layout import ClusterError, Layout, checked_name
from e2e.cluster.ociarchive import full_name

KEYRING = "/usr/share/keyrings/debian.gpg"


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("llmcache-gateway:dev", "docker.io/library/llmcache-gateway:dev"),
        ("llmcache/gateway", "docker.io/llmcache/gateway:latest"),
        ("localhost/redis:7.0", "localhost/redis:7.0"),
        ("localhost:5000/redis", "localhost:5000/redis:latest"),
        ("registry.example/a/b:1", "registry.example/a/b:1"),
    ],
)
def test_a_tag_is_loaded_under_the_name_that_pods_look_for(tag: str, name: str) -> None:
    assert full_name(tag) == name


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("sources.list", f"deb [arch=amd64 signed-by={KEYRING}] http://mirror.example/debian bookworm main extra\n"),
        (
            "sources.list.d/debian.sources",
            "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
            f"Components: main extra\nSigned-By: {KEYRING}\n\nTypes: deb\nURIs: http://other.example\n"
            "Suites: bookworm-security\nComponents: main\n",
        ),
    ],
)
def test_the_base_image_comes_from_where_apt_gets_this_machines_release(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "os-release").write_text("VERSION_CODENAME=bookworm\n")
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "apt/sources.list.d/a.list").write_text("deb http://vendor.example/apt tool main\n")
    (tmp_path / "apt" / file).write_text(text)
    assert find_source(tmp_path) == Source("bookworm", "http://mirror.example/debian", ("main", "extra"), KEYRING)


def test_a_machine_without_a_source_of_its_release_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("VERSION_CODENAME=bookworm\n")
    with pytest.raises(ClusterError, match="no source of suite 'bookworm'"):
        find_source(tmp_path)


def test_what_copy_lines_name_decides_whether_an_image_is_built_again(tmp_path: Path) -> None:
    for name in ("a.lock", "b.lock", "src", "unused"):
        (tmp_path / name).touch()
    text = 'FROM x\nCOPY --chmod=644 a.lock \\\n  src ./\nCOPY --from=builder /opt /opt\nADD ["b.lock", "/"]\n'
    assert [path.name for path in copied_files(text, tmp_path)] == ["a.lock", "src", "b.lock"]
    assert list(copied_files("COPY $WHAT /\n", tmp_path)) == [tmp_path]


def test_clusters_in_different_slots_share_no_address() -> None:
    first, second = Layout("a", 1), Layout("b", 2)
    assert not any(one.overlaps(other) for one in first.networks for other in second.networks)


@pytest.mark.parametrize("name", ["", "Upper", "-a", "a/b", "a" * 41])
def test_a_name_that_is_no_label_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cluster name"):
        checked_name(name)
