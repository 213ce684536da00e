"""Prompts, visuals and regions brought together, in the same way for every processor of this library.

- `visuals`: the videos and images of a batch.
- `matching`: prompts with their visuals and regions, and the check of unknown settings.
- `conversations`: conversations as chat templates take them, with regions between the words.
- `clips`: opened visuals, the frames chosen from them, and those that are shown.
- `masks`: the frames in which a region is used, and its masks on a feature grid.
- `wording`: the placeholder of an object, and the question of the released benchmark.
- `asked`: questions about a file from a command line.
- `apart`: protecting input files from being overwritten.
- `placeholders`: expanding placeholders to the length of their content, and finding them again.
"""
