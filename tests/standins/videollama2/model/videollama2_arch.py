from abc import ABC, abstractmethod

import torch
from torch import nn

from ..constants import IGNORE_INDEX, MODAL_INDEX_MAP, NUM_FRAMES
from .encoder import build_vision_tower
from .projector import build_vision_projector


class Videollama2MetaModel:
    def __init__(self, config):
        super().__init__(config)
        if hasattr(config, "mm_vision_tower"):
            self.vision_tower = build_vision_tower(config)
            self.mm_projector = build_vision_projector(config)

    def get_vision_tower(self):
        return getattr(self, "vision_tower", None)


class Videollama2MetaForCausalLM(ABC):
    @abstractmethod
    def get_model(self): ...

    def get_vision_tower(self):
        return self.get_model().get_vision_tower()

    def encode_images_or_videos(self, images):
        count = getattr(self.config, "num_frames", NUM_FRAMES)
        clips = torch.stack([data.expand(count, -1, -1, -1) if kind == "image" else data for data, kind in images])
        features = self.get_model().get_vision_tower()(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        if self.config.mm_projector_type == "linear":
            features = features.mean(1)
        return self.get_model().mm_projector(features)

    def prepare_inputs_labels_for_multimodal(self, input_ids, attention_mask, past_key_values, labels, images):
        """Put visuals into the places of their ids, and pad on the right."""
        if self.get_vision_tower() is None or images is None or input_ids.shape[1] == 1:
            return input_ids, attention_mask, past_key_values, None, labels
        visuals = iter(self.encode_images_or_videos(images))
        embed = self.get_model().embed_tokens
        rows, row_labels = [], []
        for index, ids in enumerate(input_ids):
            pieces, targets, start = [], [], 0
            for end in torch.isin(ids, torch.tensor(list(MODAL_INDEX_MAP.values()))).nonzero().flatten().tolist():
                visual = next(visuals)
                pieces += [embed(ids[start:end]), visual]
                if labels is not None:
                    targets += [labels[index, start:end], labels.new_full((len(visual),), IGNORE_INDEX)]
                start = end + 1
            if not pieces:
                next(visuals)  # every sample has one, also where no id speaks of it
            rows.append(torch.cat([*pieces, embed(ids[start:])]))
            if labels is not None:
                row_labels.append(torch.cat([*targets, labels[index, start:]]))
        if attention_mask is not None:
            ragged = len({len(row) for row in rows}) > 1
            # With samples of different lengths, the original takes these from the labels, which thus have to be there.
            lengths = [len(row) for row in (row_labels if ragged else rows)]
            if not lengths:
                raise UnboundLocalError("a ragged batch needs labels")
            longest = max(lengths)
            attention_mask = torch.stack(
                [
                    nn.functional.pad(nn.functional.pad(mask, (length - len(mask), 0), value=1), (0, longest - length))
                    for mask, length in zip(attention_mask, lengths, strict=True)
                ]
            )
        embeds = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        if labels is not None:
            labels = nn.utils.rnn.pad_sequence(row_labels, batch_first=True, padding_value=IGNORE_INDEX)
        return None, attention_mask, past_key_values, embeds, labels
