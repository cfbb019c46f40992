"""Monte-Carlo dropout of one network, the paper's posterior: what a plain runner draws (`kneeal.nn.mc_dropout`)."""

from kneeal.training.posteriors.base import Ingredients, Sampler, register


@register("mcd")
def monte_carlo_dropout(given: Ingredients) -> Sampler:
    """The plain runner."""
    return given.make()
