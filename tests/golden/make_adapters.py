#!/usr/bin/env python3
"""Make adapters as different programs write them, with the logits that Transformers and PEFT compute with them.

    python3 make_adapters.py [OUT]               write the folders (default OUT: adapters/ beside this script)
    python3 make_adapters.py --check PROGRAM     let `PROGRAM lora` convert and merge them, load the results with PEFT
                                                 and Transformers, and compare logits with the recordings

Every adapter belongs to `alternating-f32`. PEFT makes and runs it; the forms of other programs are the same matrices under their
names and in their shapes. Needs torch (CPU), transformers 5.23, peft 0.21, gguf; half a minute.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import gguf
import numpy
import torch
from golden_model import Inputs
from golden_record import Record, decode, empty_cache, encode, next_token_logits
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import DiffusionGemmaForBlockDiffusion

HERE = pathlib.Path(__file__).resolve().parent
BASE = HERE / "alternating-f32"
ENCODER, DECODER = "model.encoder.language_model.", "model.decoder."
EXPERTS = 8
LAST_ROWS = 4  # of the prompt whose next-token logits are kept
State = dict[str, torch.Tensor]


def load_base() -> Any:
    """The model that all adapters are for."""
    return use_eager(DiffusionGemmaForBlockDiffusion.from_pretrained(BASE, dtype=torch.float32).eval())


def use_eager(model: Any) -> Any:
    """The attention and experts of the recordings."""
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    return model


def record(model: Any, name: str) -> Record:
    """Logits of a prompt, and of a canvas behind it without and with self-conditioning."""
    inputs, cache = Inputs.draw(model.config, 0), empty_cache(model)
    with torch.no_grad():
        output = encode(model, inputs.prompt, cache)
        first = decode(model, inputs.canvas, cache)
        signal = (first / 0.8).to(model.dtype)
        second = decode(model, inputs.canvas, cache, signal=signal)
        result = Record()
        result.put_all(ids=inputs.prompt, canvas=inputs.canvas)
        result.put("ar_logits", next_token_logits(model, output.last_hidden_state[:, -LAST_ROWS:]))
        result.put("first.logits", first)
        result.put("second.self_conditioning_logits", signal)
        result.put("second.logits", second)
    plain = HERE / "alternating-f32/golden/decoder.safetensors"
    moved = (result["second.logits"] - load_file(str(plain))["second.logits"]).abs().max()
    print(f"{name}: logits moved by up to {moved:.2f}", file=sys.stderr)
    return result


def adapt(config: LoraConfig, seed: int, alike: bool) -> tuple[Any, State]:
    """The base model under PEFT with random matrices; `alike`: those of the decoder are those of the encoder."""
    model = load_base()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weights = {key: value for key, value in peft.named_parameters() if "lora_" in key}
        for key, value in weights.items():
            value.normal_(0, 0.12, generator=generator)
        for key, value in weights.items():
            twin = key.replace(DECODER, ENCODER)
            if alike and twin != key and twin in weights:
                value.copy_(weights[twin])
    peft.eval()
    return peft, {key: value.detach().clone().contiguous() for key, value in get_peft_model_state_dict(peft).items()}


def write(folder: pathlib.Path, settings: dict[str, Any] | None, state: State | None, recorded: Record) -> None:
    """One fixture; `settings` as adapter_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    if settings is not None:
        (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    if state is not None:
        save_file(state, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
    recorded.save(folder / "logits.safetensors")


def settings_of(peft: Any) -> dict[str, Any]:
    """adapter_config.json as PEFT saves it, without this machine's folder."""
    with tempfile.TemporaryDirectory() as folder:
        peft.save_pretrained(folder)
        settings = json.loads((pathlib.Path(folder) / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "alternating-f32"
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()
    return settings


# ---- as PEFT and TRL write them ----------------------------------------------------------------------------------------------


def peft_roles(out: pathlib.Path) -> None:
    """Every kind of linear layer, encoder and decoder apart, ranks and alphas by pattern."""
    config = LoraConfig(
        r=2,
        lora_alpha=6,
        target_modules=r".*(language_model|decoder)\.layers\.[012]\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj"
        r"|router\.proj)|.*self_conditioning\.(gate|up|down)_proj",
        rank_pattern={"decoder.layers.0.self_attn.q_proj": 3, r"mlp\.(up|down)_proj": 1},
        alpha_pattern={r"^model.decoder.layers.\d+.mlp.up_proj": 4, "router.proj": 5},
    )
    peft, state = adapt(config, 1, alike=False)
    write(out, settings_of(peft), state, record(peft.base_model.model, out.name))


def peft_decoder(out: pathlib.Path) -> None:
    """The decoder alone."""
    config = LoraConfig(r=3, lora_alpha=6, target_modules=r".*decoder\.layers\.\d\.self_attn\.(q|v)_proj")
    peft, state = adapt(config, 2, alike=False)
    write(out, settings_of(peft), state, record(peft.base_model.model, out.name))


def peft_encoder_rslora(out: pathlib.Path) -> None:
    """The encoder alone, rank-stabilised, stored in bfloat16."""
    config = LoraConfig(
        r=4, lora_alpha=5, use_rslora=True, target_modules=r".*language_model\.layers\.\d\.(self_attn\.k|mlp\.up)_proj"
    )
    peft, state = adapt(config, 3, alike=False)
    rounded = {key: value.to(torch.bfloat16) for key, value in state.items()}
    with torch.no_grad():
        for key, value in peft.named_parameters():
            if "lora_" in key:
                value.copy_(value.to(torch.bfloat16))
    write(out, settings_of(peft), rounded, record(peft.base_model.model, out.name))


def expert_config(*modules: str) -> LoraConfig:
    """Both parameters of the experts, and linear layers."""
    return LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules="|".join(modules) if modules else [],
        target_parameters=["experts.gate_up_proj", "experts.down_proj"],
    )


def peft_experts(out: pathlib.Path) -> None:
    """Experts as target_parameters: gate_up_proj and down_proj of layer 0, one each of layers 1 and 2."""
    config = expert_config()
    config.target_parameters = [
        "layers.0.experts.gate_up_proj",
        "layers.0.experts.down_proj",
        "layers.1.experts.gate_up_proj",
        "layers.2.experts.down_proj",
    ]
    peft, state = adapt(config, 4, alike=False)
    write(out, settings_of(peft), state, record(peft.base_model.model, out.name))


# ---- as others write them ----------------------------------------------------------------------------------------------------


def both_roles(seed: int, experts: bool = False) -> tuple[Any, State, Record, str]:
    """One delta for both roles, as PEFT has it."""
    linear = r".*(language_model|decoder)\.layers\.[01]\.(self_attn\.(q|k|v)_proj|mlp\.down_proj)"
    config = expert_config(linear) if experts else LoraConfig(r=2, lora_alpha=4, target_modules=linear)
    if experts:
        config.target_parameters = ["layers.1.experts.gate_up_proj", "layers.1.experts.down_proj"]
    peft, state = adapt(config, seed, alike=True)
    return peft, state, record(peft.base_model.model, "both"), linear


def shared(state: State) -> State:
    """The decoder's matrices under names of one stack: "base_model.model.model.layers.0..."."""
    return {key.replace(DECODER, "model."): value for key, value in state.items() if DECODER in key}


def plain_settings(**more: Any) -> dict[str, Any]:
    """What programs other than PEFT write."""
    return {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none", **more}


def trl_both(out: pathlib.Path) -> None:
    """Encoder and decoder alike, each under its name: what a merge accepts."""
    peft, state, recorded, _ = both_roles(5)
    write(out, settings_of(peft), state, recorded)


def nemo(out: pathlib.Path) -> None:
    """One shared stack, experts one by one with gate and up apart."""
    _, state, recorded, _ = both_roles(6, experts=True)
    written = {}
    for key, value in split_experts(shared(state)).items():
        match = re.fullmatch(r"(.*\.experts)\.(gate|up|down)\.(down|up)_matrix", key)
        if match is None:
            written[key] = value
            continue
        side = "lora_A" if match[3] == "down" else "lora_B"
        for expert in range(EXPERTS):
            written[f"{match[1]}.{expert}.{match[2]}_proj.{side}.weight"] = value[expert].clone()
    write(out, plain_settings(), written, recorded)


def unsloth(out: pathlib.Path) -> None:
    """A `.linear` infix, the adapter's name in the keys, float16."""
    peft, state, recorded, _ = both_roles(7)
    rounded = {key: value.to(torch.float16) for key, value in state.items()}
    with torch.no_grad():
        for key, value in peft.named_parameters():
            if "lora_" in key:
                value.copy_(value.to(torch.float16))
    recorded = record(peft.base_model.model, out.name)
    renamed = {
        re.sub(r"\.(lora_[AB])\.weight$", r".linear.\1.default.weight" if "q_proj" in key else r".\1.default.weight", key): value
        for key, value in rounded.items()
    }
    renamed["base_model.model.model.encoder.vision_tower.encoder.layers.0.mlp.up_proj.linear.lora_A.weight"] = torch.zeros(2, 32)
    renamed["base_model.model.model.encoder.vision_tower.encoder.layers.0.mlp.up_proj.linear.lora_B.weight"] = torch.zeros(48, 2)
    write(out, plain_settings(peft_version="0.18.0"), renamed, recorded)


def split_experts(state: State) -> State:
    """PEFT's flat matrices of experts as stacks: "...experts.{gate,up,down}.{down,up}_matrix" of [E, r, in], [E, out, r]."""
    out, flat = {}, {}
    for key, value in state.items():
        match = re.fullmatch(r"(.*\.experts)(\.base_layer)?\.(lora_[AB])\.weight", key)
        if match is None:
            out[key] = value
        else:
            flat[match[1], "gate_up" if match[2] else "down", match[3]] = value
    for (experts, what, side), value in flat.items():
        if side == "lora_A":
            stack = value.reshape(EXPERTS, -1, value.shape[-1])
        else:
            stack = value.reshape(value.shape[0], -1, EXPERTS).permute(2, 0, 1)
        if what == "down":
            out[f"{experts}.down.{'down' if side == 'lora_A' else 'up'}_matrix"] = stack.contiguous()
            continue
        half = stack.shape[1] // 2
        for part, rows in (("gate", slice(None, half)), ("up", slice(half, None))):
            if side == "lora_A":
                out[f"{experts}.{part}.down_matrix"] = stack.contiguous().clone()
            else:
                out[f"{experts}.{part}.up_matrix"] = stack[:, rows].contiguous()
    return out


def fused_experts(out: pathlib.Path) -> None:
    """Stacks under names of their own, matrices without ".weight", no wrapper in front; encoder and decoder apart."""
    config = expert_config(r".*decoder\.layers\.0\.self_attn\.(q|k|v|o)_proj")
    config.target_parameters = ["layers.0.experts.gate_up_proj", "layers.0.experts.down_proj"]
    peft, state = adapt(config, 8, alike=False)
    written = {}
    for key, value in split_experts({key.removeprefix("base_model.model."): value for key, value in state.items()}).items():
        match = re.fullmatch(r"(.*\.experts)\.(gate|up|down)\.(down|up)_matrix", key)
        if match is None:
            written[key.removesuffix(".weight")] = value
        elif match[2] == "down":
            written[f"{match[1]}.lora_down_{'A' if match[3] == 'down' else 'B'}"] = value
        elif match[3] == "down":
            written[f"{match[1]}.lora_gate_up_A"] = value
        else:
            parts = written.setdefault(f"{match[1]}.lora_gate_up_B", [])
            parts.append(value)
    written = {key: torch.cat(value, dim=1) if isinstance(value, list) else value for key, value in written.items()}
    write(out, plain_settings(), written, record(peft.base_model.model, out.name))


def llama_cpp(out: pathlib.Path) -> None:
    """GGUF: both roles, gate and up of experts apart, half of the matrices in F16."""
    _, state, _, _ = both_roles(9, experts=True)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "mlp.down_proj": "ffn_down",
        "experts.gate": "ffn_gate_exps",
        "experts.up": "ffn_up_exps",
        "experts.down": "ffn_down_exps",
    }
    out.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(str(out / "adapter.gguf"), "diffusion-gemma")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for key, value in split_experts(shared(state)).items():
        match = re.fullmatch(r".*layers\.(\d)\.(.*?)\.(lora_[AB]\.weight|down_matrix|up_matrix)", key)
        side = "lora_a" if match[3] in ("lora_A.weight", "down_matrix") else "lora_b"
        writer.add_tensor(f"blk.{match[1]}.{names[match[2]]}.weight.{side}", value.numpy().astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    peft, _, recorded, _ = both_roles(9, experts=True)
    write(out, None, None, recorded)


CASES: dict[str, Callable[[pathlib.Path], None]] = {
    "peft-roles": peft_roles,
    "peft-decoder": peft_decoder,
    "peft-encoder-rslora": peft_encoder_rslora,
    "peft-experts": peft_experts,
    "trl-both": trl_both,
    "nemo": nemo,
    "unsloth": unsloth,
    "fused-experts": fused_experts,
    "llama-cpp": llama_cpp,
}
MERGED = ("trl-both", "nemo", "llama-cpp")  # one delta for both roles


# ---- checking what dgemma writes ---------------------------------------------------------------------------------------------


def compare(name: str, model: Any, folder: pathlib.Path) -> bool:
    """Logits of a model against those recorded with the fixture."""
    expected, actual = load_file(str(folder / "logits.safetensors")), record(model, name)
    worst = max((actual[key] - expected[key]).abs().max().item() for key in expected if key.endswith("logits"))
    print(f"{name}: largest difference {worst:.1e}")
    return worst < 2e-4  # float32 through four layers


def compare_merged(name: str, merged: pathlib.Path, peft: Any) -> bool:
    """The merged weights against sums in float64, rounded to float32 once; everything else must be as it was."""
    before, after = load_file(str(BASE / "model.safetensors")), load_file(str(merged / "model.safetensors"))
    expected = {key: value.double() for key, value in before.items()}
    for path, module in peft.base_model.model.named_modules():
        if not path.startswith(DECODER) or not getattr(module, "lora_A", None):
            continue
        name_of_weight = path + ".weight"
        if hasattr(module, "parameter_name"):
            name_of_weight = f"{path.removesuffix('.base_layer')}.{module.parameter_name}"
        factors, scale = {}, module.scaling["default"]
        for side in ("lora_A", "lora_B"):
            factors[side] = getattr(module, side)["default"].weight.double()
        if hasattr(module, "parameter_name"):
            down = factors["lora_A"].reshape(EXPERTS, -1, factors["lora_A"].shape[-1])
            up = factors["lora_B"].reshape(factors["lora_B"].shape[0], -1, EXPERTS).permute(2, 0, 1)
            expected[name_of_weight] += scale * (up @ down)
        else:
            expected[name_of_weight] += scale * (factors["lora_B"] @ factors["lora_A"])
    changed = sum(not torch.equal(before[key], after[key]) for key in before)
    wrong = sum(not torch.equal(after[key], value.float()) for key, value in expected.items())
    print(f"{name} merged: {changed} tensors changed, {wrong} not as float64 sums")
    return wrong == 0 and changed > 0 and before.keys() == after.keys()


def check(program: str, fixtures: pathlib.Path) -> int:
    """Number of adapters that do not come back."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            source = fixtures / name
            adapter = source / "adapter.gguf" if (source / "adapter.gguf").exists() else source
            written = pathlib.Path(folder) / name
            subprocess.run([program, "lora", "convert", adapter, written, "--model", BASE, "-q"], check=True)
            peft = PeftModel.from_pretrained(load_base(), str(written)).eval()
            failed += not compare(f"{name} converted", peft.base_model.model, source)
            if name in MERGED:
                merged = pathlib.Path(folder) / f"{name}-merged"
                subprocess.run([program, "lora", "merge", BASE, adapter, merged, "-q"], check=True)
                failed += not compare_merged(name, merged, peft)
    return failed


def main() -> int:
    """Parse arguments and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=HERE / "adapters")
    parser.add_argument("--check", metavar="PROGRAM")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        return 1 if check(arguments.check, arguments.out) else 0
    for name, make in CASES.items():
        make(arguments.out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
