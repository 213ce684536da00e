"""`videorefer app`: a page where you click on an object in a video and talk about it."""
