"""Folders of traces that scenarios name."""

import pytest

from dysta_gym import load_scenario

FIELDS = {"name": "mine", "accelerator": "sanger", "load": 0.9}


@pytest.mark.parametrize("folder", ["nowhere", "file", "a\0b"])
def test_a_folder_that_is_none_is_refused_even_if_the_package_has_the_trace(
    tmp_path, refused, folder
):
    (tmp_path / "file").write_text("")
    fields = FIELDS | {"trace_dir": str(tmp_path / folder), "traces": {"minilm": 1}}
    with refused("trace_dir", "is no folder"):
        load_scenario(fields).store()


def test_what_is_not_in_the_folder_is_the_packages(tmp_path):
    fields = FIELDS | {"trace_dir": str(tmp_path), "traces": {"minilm": 1}}
    own = load_scenario(FIELDS | {"traces": {"minilm": 1}})
    assert load_scenario(fields).store().mean_isolated_s == own.store().mean_isolated_s
