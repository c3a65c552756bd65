"""What an optimised value is asked to do: the hyperparameters of v* and z. Imports no torch: rules read the keys
too.
"""

from dataclasses import MISSING, dataclass, fields

from engram.settings import config

SITES = ("mlp", "hidden")
KL_POSITIONS = ("subject_last", "end")
# DIFFERS: the original reads the padding of shorter texts for `last` when it optimises; here it is the prompt's last
# token
TOKENS = ("subject_first", "subject_last", "subject_first_after_last", "last")


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of the optimisation (ROME Sec. 3.1, MEMIT Sec. 4.2); defaults are the reference's for ROME.

    `site` is where delta is added, at the looked-up token of `layer`: the MLP's output (ROME) or the block's (MEMIT).
    Both go straight into the residual stream; what differs is the original value, in which the clamp and the decay are
    measured.
    """

    layer: int
    token: str = "subject_last"  # of TOKENS: where the key is looked up and delta is added; `last`: of the prompt
    contexts: str = "rome"  # which of the families of sampled texts stands before the prompts
    site: str = "mlp"  # of SITES
    loss_layer: int | None = (
        None  # the object is read from this block's output, through final norm and head; None: the last
    )
    steps: int = 20  # loss evaluations; the last one is not followed by an update
    rate: float = 0.5
    weight_decay: float = 0.5
    kl_factor: float = 0.0625
    kl_position: str = "subject_last"  # of KL_POSITIONS: the essence text is read at its looked-up token, or its end
    clamp_norm_factor: float = 4.0
    stop_loss: float = 0.05

    def __post_init__(self):
        if self.site not in SITES or self.kl_position not in KL_POSITIONS:
            raise ValueError(
                f"site is {self.site!r}, expected one of {SITES}; kl_position is {self.kl_position!r}, expected "
                f"one of {KL_POSITIONS}"
            )
        if self.token not in TOKENS:
            raise ValueError(f"token is {self.token!r}, expected one of {TOKENS}")
        if self.loss_layer is not None and self.loss_layer < self.layer:
            raise ValueError(f"loss_layer {self.loss_layer} lies below layer {self.layer}, where the value is changed")
        if self.steps < 1 or self.rate <= 0 or self.clamp_norm_factor <= 0:
            raise ValueError(
                f"steps {self.steps}, rate {self.rate} and clamp_norm_factor {self.clamp_norm_factor} must be positive"
            )


KEYS = tuple(field.name for field in fields(Settings))


def of_method(method: type, block: dict) -> Settings:
    """The objective of a method, given its own Settings class, whose defaults hold, and a block of params with its
    name.

    ValueError for keys that do not belong to the objective.
    """
    defaults = {
        field.name: field.default for field in fields(method) if field.name in KEYS and field.default is not MISSING
    }
    values = {key: value for key, value in block.items() if key not in ("name", "method")}
    return config.build(Settings, defaults | values, f"methods.{block['name']}")
