"""The uncentred second moment of the keys of every wanted layer, from one pass over the text."""

import sys
from collections.abc import Sequence

import torch

from engram.editing import covariance, second_moment
from engram.job import arguments, io, resuming, schemas
from engram.model import loading, runtime
from engram.model.loading import LM
from engram.settings.blocks import build
from engram.settings.sections import Covariance


def main(argv: Sequence[str] | None = None) -> None:
    """Read the text once, and write the moments and what they were counted from."""
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["manifest", "weights?", "text"], outputs=["moments", "counts"], keys=["model"]
    )
    device = runtime.setup(job)
    lm = loading.open_lm(job, device)
    settings = build(Covariance, job.config["covariance"], "covariance")
    limit = min(settings.max_tokens, lm.model.config.max_position_embeddings)
    articles = io.read_table(job.inputs.text, schemas.ARTICLES)[: settings.articles]
    if settings.tokens != "all":
        articles = articles[: covariance.articles_of(lm, list(articles["text"]), limit, settings.tokens)]
    with resuming.store(job) as store:
        moments = covariance.second_moments(
            lm,
            job.config["model"]["covariance_layers"],
            list(articles["text"]),
            limit,
            settings.batch_tokens,
            covariance.DTYPES[settings.dtype],
            store,
        )
        about = second_moment.identity(job) | {
            "model": lm.name,
            "articles": len(articles),
            "dataset": covariance.fingerprint(articles),
            "max_tokens": limit,
            "batch_tokens": settings.batch_tokens,
            "dtype": settings.dtype,
            "ridge": settings.ridge,
            "tokens": {str(layer): moment.count for layer, moment in moments.items()},
            "width": {str(layer): len(moment.total) for layer, moment in moments.items()},
            "rank": {str(layer): rank_of(lm, layer, moment, device) for layer, moment in moments.items()},
        }
        job.write("moments", second_moment.to_tensors(moments, about))
        job.write("counts", about)


def rank_of(lm: LM, layer: int, moment: second_moment.Moment, device: torch.device) -> int:
    """The rank of the second moment of a layer; a warning on stderr where it is below the width."""
    rank = moment.rank(device)
    if rank < len(moment.total):
        print(
            f"covariance: layer {layer} of {lm.name} has rank {rank} of {len(moment.total)} from {moment.count} keys; "
            "it can be solved with only after more articles, or with covariance.ridge",
            file=sys.stderr,
        )
    return rank


if __name__ == "__main__":
    main()
