"""The registry: every method by its name. A new method is its file and one line here."""

from __future__ import annotations

from fedkrso_core.method import Method
from fedkrso_core.methods import (
    bottleneck,
    fed_sb,
    fedavg,
    fedbpt,
    fedcybgd,
    fedex_lora,
    fedit,
    fedkrso,
    fedkseed,
    fedpeptao,
    fedsa_lora,
    fedtt,
    fedtt_plus,
    ferret,
    ffa_lora,
    flexlora,
    flora,
    gradualdiff,
    p_tuning,
    prefix_tuning,
    prompt_tuning,
    rolora,
    slora,
    spafl,
)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        fedkrso.METHOD,
        fedavg.METHOD,
        fedit.METHOD,
        ffa_lora.METHOD,
        rolora.METHOD,
        flora.METHOD,
        flexlora.METHOD,
        fedex_lora.METHOD,
        fedsa_lora.METHOD,
        fed_sb.METHOD,
        slora.METHOD,
        fedtt.METHOD,
        fedtt_plus.METHOD,
        fedkseed.METHOD,
        ferret.METHOD,
        gradualdiff.METHOD,
        fedcybgd.METHOD,
        spafl.METHOD,
        prompt_tuning.METHOD,
        p_tuning.METHOD,
        prefix_tuning.METHOD,
        bottleneck.METHOD,
        fedpeptao.METHOD,
        fedbpt.METHOD,
    )
}
