import json, math, torch
from torch import nn
import torch.nn.functional as F


class Layer(nn.Module):
    def __init__(s, d, h, f):
        super().__init__()
        s.h = h
        s.qkv = nn.Linear(d, 3 * d)
        s.o = nn.Linear(d, d)
        s.n1 = nn.LayerNorm(d, eps=1e-12)
        s.i = nn.Linear(d, f)
        s.f = nn.Linear(f, d)
        s.n2 = nn.LayerNorm(d, eps=1e-12)

    def forward(s, x, bias, drop=0.0):
        B, T, D = x.shape
        q, k, v = s.qkv(x).view(B, T, 3, s.h, D // s.h).permute(2, 0, 3, 1, 4).unbind(0)
        a = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(D // s.h)) + bias
        a = torch.softmax(a, -1)
        if drop:
            a = F.dropout(a, drop)
        y = (a @ v).transpose(1, 2).reshape(B, T, D)
        y = s.o(y)
        if drop:
            y = F.dropout(y, drop)
        x = s.n1(x + y)
        y = s.f(F.gelu(s.i(x)))
        if drop:
            y = F.dropout(y, drop)
        return s.n2(x + y)


class Cross(nn.Module):
    def __init__(s, layers=6, exits=(6,), d=384, h=12, f=1536, vocab=30522):
        super().__init__()
        s.exits = exits
        s.word = nn.Embedding(vocab, d)
        s.pos = nn.Embedding(512, d)
        s.typ = nn.Embedding(2, d)
        s.n = nn.LayerNorm(d, eps=1e-12)
        s.layers = nn.ModuleList(Layer(d, h, f) for _ in range(layers))
        s.heads = nn.ModuleDict(
            {str(e): nn.Sequential(nn.Linear(5 * d, 128), nn.GELU(), nn.Linear(128, 1)) for e in exits}
        )

    def forward(s, ids, types, mask, drop=0.0):
        # positions restart in the second text
        x = s.n(s.word(ids) + s.typ(types) + s.pos.weight[: ids.shape[1]])
        bias = ((1 - mask[:, None, None, :]) * -1e4).to(x.dtype)
        ma = (mask * (1 - types)).unsqueeze(-1).to(x.dtype)
        mb = (mask * types).unsqueeze(-1).to(x.dtype)
        out = []
        for i, l in enumerate(s.layers, 1):
            x = l(x, bias, drop)
            if i in s.exits:
                a = (x * ma).sum(1) / ma.sum(1)
                b = (x * mb).sum(1) / mb.sum(1)
                out.append(s.heads[str(i)](torch.cat([x[:, 0], a, b, (a - b).abs(), a * b], -1)).squeeze(-1))
        return out


def load_minilm(m, path, keep):
    from safetensors.torch import load_file

    w = load_file(path)
    g = lambda k: w[k] if k in w else w["bert." + k]
    m.word.weight.data.copy_(g("embeddings.word_embeddings.weight"))
    m.pos.weight.data.copy_(g("embeddings.position_embeddings.weight"))
    m.typ.weight.data.copy_(g("embeddings.token_type_embeddings.weight"))
    m.n.weight.data.copy_(g("embeddings.LayerNorm.weight"))
    m.n.bias.data.copy_(g("embeddings.LayerNorm.bias"))
    for l, k in zip(m.layers, keep):
        p = f"encoder.layer.{k}."
        l.qkv.weight.data.copy_(torch.cat([g(p + f"attention.self.{n}.weight") for n in ("query", "key", "value")]))
        l.qkv.bias.data.copy_(torch.cat([g(p + f"attention.self.{n}.bias") for n in ("query", "key", "value")]))
        for a, b in (
            (l.o, "attention.output.dense"),
            (l.n1, "attention.output.LayerNorm"),
            (l.i, "intermediate.dense"),
            (l.f, "output.dense"),
            (l.n2, "output.LayerNorm"),
        ):
            a.weight.data.copy_(g(p + b + ".weight"))
            a.bias.data.copy_(g(p + b + ".bias"))
