"""A run of the data engine whose check was drawn."""

from tests.engine_states import recipe, reviewed, source
from videorefer_plugin.data_engine.records import write_records
from videorefer_plugin.data_engine.review import draw_review


def reviewed_run(folder, verdicts=(True, True, False)):
    """A run of one source, of whose objects the Reviewer kept or discarded each, drawn to be checked."""
    write_records([reviewed(source(folder, license="cc0-1.0"), list(verdicts))], folder, recipe(folder))
    draw_review(folder)
    return folder
