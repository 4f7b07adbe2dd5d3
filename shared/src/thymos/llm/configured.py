"""The model that a configuration names."""

from collections.abc import Mapping

from thymos.config import Llm
from thymos.errors import ConfigError
from thymos.llm.chat import ChatModel


def model_of(settings: Llm, environ: Mapping[str, str]) -> ChatModel | None:
    """The configured model; None where there is none.

    Raises:
        ConfigError: the variable that should hold its key is not set, or holds no key. The text does not repeat it.
    """
    if settings.url is None or settings.model is None:
        return None
    key = ""
    if settings.api_key_env is not None:
        key = environ.get(settings.api_key_env, "").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(
                f"llm.api_key_env: the environment variable {settings.api_key_env} "
                f"{'is not set' if not key else 'holds no key'}; set it for memory-repository, or leave the setting out"
            )
    return ChatModel(settings.url, settings.model, key, settings.timeout, settings.max_tokens)
