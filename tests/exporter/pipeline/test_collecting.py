"""During an export, old objects are left out of garbage collection, and afterwards they are not."""

import gc

from odelet_export.pipeline.collecting import old_objects_left_out


def test_old_objects_come_back_after_the_block():
    assert gc.get_freeze_count() == 0
    with old_objects_left_out():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_objects_that_a_caller_has_left_out_stay_so():
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with old_objects_left_out():
            assert 0 < gc.get_freeze_count() <= count  # some may be freed meanwhile
        assert 0 < gc.get_freeze_count() <= count
    finally:
        gc.unfreeze()
