"""Where videos, captions and objects come from: tables, layouts of known data sets, and folders of clips."""
