"""What an optimised value is asked to do: the hyperparameters of v* and z, and of the editors that store them."""

from typing import Annotated, Literal, get_args

from engram.settings.blocks import Count, Natural, NotNegative, Positive, Some, Text, block, build, fields, key

# DIFFERS: the original reads the padding of shorter texts for `last` when it optimises; here it is the prompt's last
# token
Token = Literal["subject_first", "subject_last", "subject_first_after_last", "last"]
TOKENS = get_args(Token)


@block
class Settings:
    """Hyperparameters of the optimisation (ROME Sec. 3.1, MEMIT Sec. 4.2); defaults are the reference's for ROME.

    `site` is where delta is added, at the looked-up token of `layer`: the MLP's output (ROME) or the block's (MEMIT).
    Both go straight into the residual stream; what differs is the original value, in which the clamp and the decay are
    measured.
    """

    layer: Natural = key("The edited layer, counted from 0, or that of the optimised value.")
    token: Token = key(
        "The token where the key is looked up and the value is changed; last: of the prompt.", default="subject_last"
    )
    contexts: Text = key("The family of context texts, a block of prefixes.families.", default="rome")
    site: Literal["mlp", "hidden"] = key(
        "What is optimised: the output of the MLP or of the whole block.", default="mlp"
    )
    loss_layer: Natural | None = key(
        "The object is read from this block's output, through final norm and head; none: the last.", default=None
    )
    steps: Count = key("Evaluations of a value's loss, the last one without an update.", default=20)
    rate: Positive = key("Adam's learning rate.", default=0.5)
    weight_decay: NotNegative = key("Factor of |delta| / |v0|^2 in a value's loss.", default=0.5)
    kl_factor: NotNegative = key("Factor of the KL divergence of the essence prompt in the loss.", default=0.0625)
    kl_position: Literal["subject_last", "end"] = key(
        "Where the essence prompt is read: at its looked-up token, or its end.", default="subject_last"
    )
    clamp_norm_factor: Positive = key("Largest |delta| as a multiple of |v0|.", default=4.0)
    stop_loss: NotNegative = key("A fact is done when its loss falls below this.", default=0.05)

    def __post_init__(self) -> None:
        if self.loss_layer is not None and self.loss_layer < self.layer:
            raise ValueError(f"loss_layer {self.loss_layer} lies below layer {self.layer}, where the value is changed")


KEYS = tuple(fields(Settings))


@block
class Layers(Settings):
    """Hyperparameters of an editor of several layers; `layer` is where the wanted value z lives, the last of `layers`.

    Defaults are the reference's for MEMIT.
    """

    layers: Annotated[tuple[Natural, ...], Some] = key(
        "The edited layers, from low to high; the value is optimised in the last.", kw_only=True
    )
    contexts: Text = key("The family of context texts, a block of prefixes.families.", default="memit")
    site: Literal["mlp", "hidden"] = key(
        "What is optimised: the output of the MLP or of the whole block.", default="hidden"
    )
    clamp_norm_factor: Positive = key("Largest |delta| as a multiple of |v0|.", default=0.75)

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.layers) != sorted(set(self.layers)) or self.layers[-1] != self.layer:
            raise ValueError(
                f"layers {list(self.layers)} and layer {self.layer}: right is a rising list that ends with the "
                "layer of the optimised value"
            )


@block
class Weighted(Layers):
    """Hyperparameters of an editor of several layers that weighs the keys of text against those of the facts."""

    covariance_weight: NotNegative = key("Lambda: weight of the mean second moment C.", kw_only=True)


def of_method(method: type, values: dict) -> Settings:
    """The objective of a method, given its own Settings class, whose defaults hold, and a block of params with its
    name.

    ValueError for keys that do not belong to the objective.
    """
    known = fields(method)
    defaults = {key: known[key].default for key in KEYS if key in known and not known[key].is_required()}
    own = {key: value for key, value in values.items() if key not in ("name", "method")}
    return build(Settings, defaults | own, f"methods.{values['name']}")
