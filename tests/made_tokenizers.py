"""Small tokenizers of the kinds that models have, and the texts that tell them apart."""

from functools import cache

from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from sft_sweeps.data.encode.token_cache import TokenCache, text_encoder

TEXT = st.text(st.characters(exclude_characters="\0\u2581", exclude_categories=["Cs"])) | st.sampled_from(
    ["7", " 7", "<s>", "</s>", "a</s>b", "ASSISTANT: 7", "\n", "  x", " ", "\u00e9\U0001f600"]
)


def llama_like() -> Tokenizer:
    """As LLaMA's tokenizer.json is made: spaces as U+2581, one in front of each text, unknown characters as bytes."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["\u2581", *map(chr, range(33, 127)), "\u2581\u2581", "\u2581a", "</", "</s", "US", "\u2581US"]
    merges = [("\u2581", "\u2581"), ("\u2581", "a"), ("<", "/"), ("</", "s"), ("U", "S"), ("\u2581", "US")]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    replaced = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(replaced)
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    made.enable_truncation(4)
    made.enable_padding(length=64)
    return made


@cache
def encoders(made: str) -> tuple[Tokenizer, TokenCache]:
    tokenizer = llama_like()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    if made != "prepend":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "always", split=False)
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    if made == "metaspace_5_24":
        double = normalizers.Replace(Regex("\\A\u2581"), "\u2581\u2581")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(" ", "\u2581"), double])
    cache = text_encoder(tokenizer)
    assert isinstance(cache, TokenCache)
    return tokenizer, cache
