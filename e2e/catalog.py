"""What the gateway under test serves, as a document for `tollgate apply`.

An upstream's limit cools a key and its overload counts against it, so whoever provokes one has a provider of its own.
"""

# The endpoint of each wire.
WIRES = {"anthropic": "CLAUDE", "chat": "OPENAI", "responses": "OPENAI_CLI", "gemini": "GEMINI"}

MODEL = "mock-model"
UPSTREAM_MODEL = "mock-model-upstream"
PRICED = [{"up_to": None, "input_price_per_1m": "3", "output_price_per_1m": "15"}]
FREE = [{"up_to": None, "input_price_per_1m": 0, "output_price_per_1m": 0}]
FEATURES = {
    "streaming": True,
    "vision": True,
    "function_calling": True,
    "extended_thinking": True,
    "context_limit": 200_000,
    "output_limit": 64_000,
}


# Those of the clients that speak one wire only: with another endpoint, conversion would go on to that one.
SPOKEN = {"claude-code": "anthropic", "codex": "responses", "gemini-cli": "gemini"}


def limited(who):
    """The model whose limit only `who` meets, on each of its wires."""
    return f"limited-{who}"


def only(wire):
    """The model that only an upstream of this wire serves."""
    return f"only-{wire}"


def models(clients, pairs):
    """Each model with the wires of its upstream; `pairs` are the clients that try every pair of wires."""
    served = {MODEL: WIRES, **{limited(who): [SPOKEN[who]] if who in SPOKEN else WIRES for who in clients}}
    for wire in WIRES:
        served[only(wire)] = [wire]
        served |= {f"overloaded-{who}-{wire}": [wire] for who in pairs}
        for kind in ("limited", "faulty"):
            served |= {f"{kind}-{who}-{asked}-{wire}": [wire] for who in pairs for asked in WIRES}
    return served


def document(upstream, keys, pairs):
    """`keys` is the key of each client by its name."""
    served = models(keys, pairs)
    return {
        "global_models": [
            {
                "name": name,
                "display_name": name,
                "is_free": name != MODEL,
                "default_tiered_pricing": {"tiers": PRICED if name == MODEL else FREE},
                "config": FEATURES,
            }
            for name in served
        ],
        "providers": [provider(upstream, name, wires) for name, wires in served.items()],
        "users": [{"username": "e2e", "email": "e2e@example.com", "password": None}],
        "api_keys": [
            {"name": name, "user": "e2e", "key": key, "rate_limit": None, "concurrent_limit": None}
            for name, key in keys.items()
        ],
    }


def provider(upstream, model, wires):
    """The provider of one model, which speaks these wires."""
    return {
        "name": model,
        "display_name": model,
        "endpoints": [
            {
                "api_format": WIRES[wire],
                "base_url": upstream,
                "max_retries": 0,
                "keys": [{"name": "main", "api_key": f"upstream-{wire}"}],
            }
            for wire in wires
        ],
        "models": [{"global_model": model, "provider_model_name": UPSTREAM_MODEL}],
    }
