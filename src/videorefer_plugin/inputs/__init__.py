"""Where prompts, visuals and regions meet, the same for every processor of this library.

- `visuals`: what a video or image may be, and which belong to a batch.
- `matching`: prompts with their visuals and regions, and settings that nobody knows.
- `conversations`: conversations as chat templates take them, with regions between the words.
- `clips`: an opened visual, the frames chosen from it, and those that are shown.
- `masks`: the frames in which a region is used, and its masks on a feature grid.
- `wording`: the placeholder of an object, and what the released benchmark asks.
- `asked`: questions about a file, as a command line has them.
- `apart`: files that are written, and must not be those that are read.
- `placeholders`: placeholders made as long as what stands for them, and found again.
"""
