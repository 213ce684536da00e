"""The similarity of one region's tokens from frame to frame, and its picture."""

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
from videorefer_plugin import world
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.object_encoder import merge_tokens, pool_masks
from videorefer_plugin.pictures import COLORS, TokenSimilarity
from videorefer_plugin.video import open_video

HEIGHT, WIDTH = 48, 80


def make_similarity(num_frames=6, max_tokens=4, frames=None, size=(HEIGHT, WIDTH), tokens=None):
    """A gray video with a square in every frame, and tokens at random."""
    frames = list(range(num_frames)) if frames is None else frames
    video = open_video(np.full((max(frames) + 1, *size, 3), 128, np.uint8))
    region = vr.Region(dict.fromkeys(frames, (10, 12, 30, 32)))
    if tokens is None:
        tokens = torch.randn(len(frames), 8, generator=torch.Generator().manual_seed(0))
    return TokenSimilarity.of(video, region, frames, tokens, max_tokens)


def holds(picture, color):
    return (np.asarray(picture) == color).all(-1).sum()


@pytest.mark.parametrize("max_tokens", [1, 4, 64])
@pytest.mark.parametrize("num_frames", [1, 2, 4, 16, 17, 200])
def test_unions_are_what_is_merged(num_frames, max_tokens):
    tokens = torch.randn(num_frames, 8, generator=torch.Generator().manual_seed(num_frames))
    frames = [3 * number for number in range(num_frames)]
    made = make_similarity(frames=frames, tokens=tokens, max_tokens=max_tokens)
    merged, _ = merge_tokens(tokens, torch.tensor([num_frames]), max_tokens)
    assert [frame for union in made.unions for frame in union] == frames
    means = [tokens[[frame // 3 for frame in union]].mean(0) for union in made.unions]
    torch.testing.assert_close(torch.stack(means), merged)
    assert made.similarities.shape == (num_frames - 1,)
    assert len(made.joined) == num_frames - 1
    assert sum(made.joined) == num_frames - len(merged)


def test_tokens_are_compared_in_the_order_given():
    tokens = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    made = make_similarity(frames=[9, 2, 5], tokens=tokens, max_tokens=2)
    assert made.similarities.tolist() == [0, 1]
    assert made.unions == ((9,), (2, 5))
    assert made.joined == (False, True)


@pytest.mark.spread(2)
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (WIDTH, HEIGHT), (40, 1500), (1500, 40)], ids=str)
@pytest.mark.parametrize("num_frames", [1, 2, 16, 200])
def test_pictures_of_any_number_of_frames_can_be_looked_at(num_frames, size):
    picture = make_similarity(num_frames, size=size).picture()
    assert 800 <= picture.width <= 1700
    assert 150 <= picture.height <= 800


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "tokens", [torch.ones(5, 3), torch.zeros(5, 3), torch.eye(5), torch.tensor([[1.0], [-1.0]] * 3)[:5]]
)
def test_pictures_of_any_similarity(tokens):
    assert make_similarity(5, tokens=tokens).picture().width


def test_objects_are_outlined_in_the_color_of_their_union():
    colors = list(COLORS.values())
    two = make_similarity(2, max_tokens=2).picture()
    one = make_similarity(2, max_tokens=1).picture()
    assert holds(two, colors[0])
    assert holds(two, colors[1])
    assert holds(one, colors[0])
    assert not holds(one, colors[1])
    # The outline is around the object, which itself stays as it is.
    red = np.argwhere((np.asarray(one)[:300] == colors[0]).all(-1))
    assert len(red)
    assert holds(one, (128, 128, 128)) > 1000


def test_it_is_saved(tmp_path):
    make_similarity().save(tmp_path / "similarity.png")
    assert (tmp_path / "similarity.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigurationError, match="not the name of a picture"):
        make_similarity().save(tmp_path / "similarity.txt")
    with pytest.raises(ConfigurationError, match="no folder"):
        make_similarity().save(tmp_path / "nowhere" / "similarity.png")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"tokens": torch.zeros(5, 3)}, TensorError, "5 tokens and 6 frames"),
        ({"tokens": torch.zeros(6)}, TensorError, r"shapes \(6,\)"),
        ({"tokens": torch.full((6, 2), torch.nan)}, TensorError, "NaN"),
        ({"tokens": [[0.0]] * 6}, TensorError, "must be a torch.Tensor, but is a list"),
        ({"max_tokens": 0}, ConfigurationError, "at least 1"),
    ],
)
def test_what_cannot_be_compared(changes, error, said):
    with pytest.raises(error, match=said):
        make_similarity(**changes)


def test_no_frames_at_all():
    video, region = open_video(np.zeros((2, 8, 8, 3), np.uint8)), vr.Region({0: (0, 0, 4, 4)})
    with pytest.raises(TensorError, match="0 tokens and 0 frames"):
        TokenSimilarity.of(video, region, [], torch.zeros(0, 4), 4)


@torch.no_grad()
def test_with_the_embedded_model():
    """A clip of the shapes world, as the model sees it: its object tokens are as many as there are unions."""
    clip = world.make_clip(5, "heldout", objects=3, theme="mixed", distinct=True)
    model, processor = load_model(vr.tiny_checkpoint())
    region = clip.region(0)
    drawn = vr.draw_region(region, clip.frames, model.config.grid_size)
    everything = processor(text="<video>", videos=[clip.frames], num_frames=len(clip.frames), return_tensors="pt")
    features = model.model.get_frame_features(everything["pixel_values_videos"][0])
    seen = torch.as_tensor(drawn.masks), torch.tensor(drawn.frames)
    encoder = model.object_encoder
    pooled = pool_masks(features, *seen)
    made = TokenSimilarity.of(
        open_video(clip.frames), region, drawn.frames, pooled, encoder.config.max_tokens_per_region
    )
    tokens, _ = encoder(features, *seen, torch.tensor([len(drawn.frames)]))
    assert len(made.unions) == len(tokens) == 4
    assert made.similarities.max() <= 1
    assert (made.similarities > 0.5).all()  # the same object all along
    assert holds(made.picture(), COLORS["red"])
