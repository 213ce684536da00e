"""Templates of the model and data set cards that `videorefer publish` writes.

`model_card.md.jinja` is filled by `videorefer_plugin.hub.cards.model_card`, `dataset_card.md.jinja` by `dataset_card`
there, and `engine_card.md.jinja`, for data that the data engine made, by `engine_card`; the head of each lists its
variables. Unknown values are left out, so every section has an `if`. Values reach tables through the filter
`cell`, which keeps them on one line, and code through `fence`.
"""
