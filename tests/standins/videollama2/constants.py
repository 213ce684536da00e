IGNORE_INDEX = -100
NUM_FRAMES = 8
MODAL_INDEX_MAP = {"<image>": -200, "<video>": -201, "<audio>": -202}
