"""Losses beside PyTorch's, in f64: values and gradients, for torch_oracle.py, of which this is a part. Where PyTorch has no
such loss, its formula is written out in PyTorch's functions."""
import ctypes as C
import random

from torch_oracle import F, Loss, compare, dims, normal, np, sized, torch

REDUCE = ("mean", "sum", "none")


def call(name, n=2, **fields):
    """A loss of the first n arrays; fields that are ints among `tensors` name further arrays."""
    tensors = {key: fields.pop(key) for key in ("weights", "class_weights", "pos_weight") if key in fields}

    def build(s, i):
        options = sized(Loss, **fields)
        for key, index in tensors.items():
            setattr(options, key, i[index].value)
        return s.op(name, *i[:n], C.byref(options))
    return build


def labelled(library, result):
    n, c = dims(2, 2, 6)
    rest = dims(random.randint(0, 2), 1, 3)
    logits, labels = normal(n, c, *rest) * 3, np.random.randint(0, c, (n, *rest))
    weights, hard = np.abs(normal(c)) + 0.1, normal(n, c) * 2
    ignore = int(labels.flat[0])
    left = not np.all(labels == ignore)
    for reduce, name in enumerate(REDUCE):
        if name == "mean" and not left:
            continue  # PyTorch says NaN, we say 0
        smoothing = random.choice([0.0, 0.2])
        common = dict(reduce=reduce, ignore_index=ignore, use_ignore_index=True, class_weights=2)
        what = "%s %s %s" % (name, logits.shape, smoothing)
        compare(library, result, "cross_entropy " + what, [logits, labels, weights],
                call("softmax_cross_entropy", label_smoothing=smoothing, **common),
                lambda t: F.cross_entropy(t[0], t[1], t[2].detach(), ignore_index=ignore, reduction=name,
                                          label_smoothing=smoothing), differentiable=[0])
        compare(library, result, "nll " + what, [np.asarray(F.log_softmax(torch.tensor(logits), 1)), labels, weights],
                call("nll", **common),
                lambda t: F.nll_loss(t[0], t[1], t[2].detach(), ignore_index=ignore, reduction=name), differentiable=[0])
        soft = np.random.random(logits.shape)
        compare(library, result, "soft " + what, [logits, soft, weights],
                call("softmax_cross_entropy_soft", reduce=reduce, label_smoothing=smoothing, class_weights=2),
                lambda t: torch_soft(t, name, smoothing), differentiable=[0])
        first = labels.reshape(n, -1)[:, 0].copy()
        power = random.choice([1, 2])
        margin = random.choice([0.5, 1.0])
        compare(library, result, "multi_margin %s power %d" % (name, power), [hard, first, weights],
                call("multi_margin", reduce=reduce, margin=margin, squared=power == 2, class_weights=2),
                lambda t: margins(t, name, power, margin), differentiable=[0])
    compare(library, result, "perplexity", [logits, labels], lambda s, i: s.op("perplexity", i[0], i[1], None),
            lambda t: torch.exp(F.cross_entropy(t[0], t[1])), differentiable=[0])
    gamma = random.choice([0.0, 0.5, 1.0, 2.0, 3.5])
    compare(library, result, "softmax_focal gamma %g" % gamma, [logits, labels],
            call("softmax_focal", gamma=gamma or -0.0),
            lambda t: torch.mean((1 - torch.exp(-ce(t))) ** gamma * ce(t)), differentiable=[0])


def ce(t):
    return F.cross_entropy(t[0], t[1], reduction="none")


def torch_soft(t, reduction, smoothing):
    """F.cross_entropy of soft targets; its mean divides by the examples, positions included."""
    return F.cross_entropy(t[0], t[1].detach(), t[2].detach(), reduction=reduction, label_smoothing=smoothing) \
        if t[0].dim() == 2 or reduction != "mean" else \
        F.cross_entropy(t[0], t[1].detach(), t[2].detach(), reduction="none", label_smoothing=smoothing).mean()


def margins(t, reduction, power, margin):
    """multi_margin_loss; the mean of a weighted one divides by the weights, as cross-entropy's does."""
    each = F.multi_margin_loss(t[0], t[1], p=power, margin=margin, weight=t[2].detach(), reduction="none")
    return each.sum() / t[2].detach()[t[1]].sum() if reduction == "mean" else each.sum() if reduction == "sum" else each


def elementwise(library, result):
    n, c = dims(2, 1, 6)
    x, y, weight = normal(n, c) * 2, np.random.randint(0, 2, (n, c)).astype("float64"), np.abs(normal(c)) + 0.1
    p, t = np.log(np.random.random((n, c)) + 0.01), np.random.random((n, c)) * (np.random.random((n, c)) < 0.8)
    sign, mask = 2 * y - 1, np.random.random((n, c))
    for reduce, name in enumerate(REDUCE):
        compare(library, result, "bce pos_weight " + name, [x, y, weight], call("bce_with_logits", reduce=reduce, pos_weight=2),
                lambda v: F.binary_cross_entropy_with_logits(v[0], v[1], pos_weight=v[2].detach(), reduction=name),
                differentiable=[0])
        compare(library, result, "kl " + name, [p, t], call("kl_divergence", reduce=reduce),
                lambda v: F.kl_div(v[0], v[1].detach(), reduction=name), differentiable=[0])
        compare(library, result, "kl of logs " + name, [p, np.log(t + 0.1)],
                call("kl_divergence", reduce=reduce, log_targets=True),
                lambda v: F.kl_div(v[0], v[1], reduction=name, log_target=True))
        beta = random.choice([0.0, 0.3, 1.0, 2.0])
        compare(library, result, "smooth_l1 %s beta %g" % (name, beta), [x, normal(n, c)],
                call("smooth_l1", reduce=reduce, delta=beta or -0.0),
                lambda v: F.smooth_l1_loss(v[0], v[1], reduction=name, beta=beta))
        compare(library, result, "huber %s delta %g" % (name, beta or 1), [x, normal(n, c)],
                call("huber_error", reduce=reduce, delta=beta or 1),
                lambda v: F.huber_loss(v[0], v[1], reduction=name, delta=beta or 1))
    missing = np.where(mask < 0.4, -1.0, y)
    kept = torch.tensor(missing != -1)
    if kept.any():
        compare(library, result, "bce of some", [x, missing],
                call("bce_with_logits", ignore_index=-1, use_ignore_index=True),
                lambda v: F.binary_cross_entropy_with_logits(v[0][kept], v[1][kept].detach()), differentiable=[0])
    gamma, alpha = random.choice([0.0, 1.0, 2.0, 2.5]), random.choice([0.0, 0.25])
    compare(library, result, "focal gamma %g alpha %g" % (gamma, alpha), [x, y],
            call("focal_with_logits", gamma=gamma or -0.0, alpha=alpha),
            lambda v: focal(v, gamma, alpha), differentiable=[0])
    for power in (1, 2):
        compare(library, result, "hinge %d" % power, [x, sign], call("hinge", squared=power == 2, margin=0.8),
                lambda v: torch.mean(torch.relu(0.8 - v[0] * v[1]) ** power))
    compare(library, result, "gan discriminator", [x, normal(n, c)], lambda s, i: s.op("gan_discriminator", i[0], i[1]),
            lambda v: -F.logsigmoid(v[0]).mean() - torch.log(1 - torch.sigmoid(v[1])).mean())
    for saturating in (False, True):
        compare(library, result, "gan generator %d" % saturating, [x], lambda s, i: s.op("gan_generator", i[0], saturating),
                lambda v: torch.log(1 - torch.sigmoid(v[0])).mean() if saturating else -F.logsigmoid(v[0]).mean())


def focal(v, gamma, alpha):
    p = torch.sigmoid(v[0])
    loss = F.binary_cross_entropy_with_logits(v[0], v[1].detach(), reduction="none")
    loss = loss * (1 - (p * v[1] + (1 - p) * (1 - v[1]))) ** gamma
    return torch.mean(loss * (alpha * v[1] + (1 - alpha) * (1 - v[1])) if alpha else loss)


def embeddings(library, result):
    n, d = random.randint(2, 7), random.randint(2, 5)
    a, b, c = (normal(n, d) * 2 for _ in range(3))  # with one feature a cosine's gradient is PyTorch's epsilon alone
    labels = np.random.randint(0, 3, n)
    same = np.random.randint(0, 2, n).astype("float64")
    for reduce, name in enumerate(REDUCE):
        compare(library, result, "triplet " + name, [a, b, c], call("triplet", 3, reduce=reduce, margin=0.7),
                lambda t: F.triplet_margin_loss(*t, margin=0.7, reduction=name))
        compare(library, result, "cosine_embedding " + name, [a, b, 2 * same - 1],
                call("cosine_embedding", 3, reduce=reduce, margin=0.1),
                lambda t: F.cosine_embedding_loss(t[0], t[1], t[2].detach(), margin=0.1, reduction=name),
                differentiable=[0, 1])
    compare(library, result, "triplet squared", [a, b, c], call("triplet", 3, squared=True, margin=0.2, reduce=1),
            lambda t: torch.relu(((t[0] - t[1]) ** 2).sum(-1) - ((t[0] - t[2]) ** 2).sum(-1) + 0.2).sum())
    compare(library, result, "contrastive", [a, b, same], call("contrastive", 3, margin=2.0),
            lambda t: torch.mean(t[2] * ((t[0] - t[1]) ** 2).sum(-1) + (1 - t[2]) *
                                 torch.relu(2 - ((t[0] - t[1]) ** 2).sum(-1).sqrt()) ** 2) / 2, differentiable=[0, 1])
    for axis in (0, 1):
        compare(library, result, "cosine_similarity %d" % axis, [a, b], lambda s, i: s.op("cosine_similarity", i[0], i[1], axis),
                lambda t: F.cosine_similarity(t[0], t[1], axis))
    for squared in (False, True):
        compare(library, result, "pairwise_distance %d" % squared, [a, normal(3, d)],
                lambda s, i: s.op("pairwise_distance", i[0], i[1], squared),
                lambda t: ((t[0][:, None] - t[1][None]) ** 2).sum(-1) ** (1 if squared else 0.5))
        compare(library, result, "triplet_hard %s squared %d" % (labels, squared), [a, labels],
                call("triplet_hard", squared=squared, margin=0.5), lambda t: hard(t, squared), differentiable=[0])
        compare(library, result, "triplet_semi_hard %s squared %d" % (labels, squared), [a, labels],
                call("triplet_semi_hard", squared=squared, margin=0.5), lambda t: semi_hard(t, squared), differentiable=[0])


def semi_hard(t, squared):
    """Pair by pair: the nearest negative beyond the positive, or else the farthest of all."""
    x, labels, losses = t[0], t[1].tolist(), []

    def d(i, j):
        return ((x[i] - x[j]) ** 2).sum() ** (1 if squared else 0.5)
    for i, label in enumerate(labels):
        others = [d(i, j) for j in range(len(labels)) if labels[j] != label]
        for j in range(len(labels)):
            if j != i and labels[j] == label and others:
                beyond = [v for v in others if v > d(i, j)]
                losses.append(torch.relu(0.5 + d(i, j) - (min(beyond) if beyond else max(others))))
    return torch.stack(losses).mean() if losses else 0 * x.sum()


def hard(t, squared):
    """Anchor by anchor, as the paper says."""
    x, labels, losses = t[0], t[1].tolist(), []

    def d(i, j):
        return ((x[i] - x[j]) ** 2).sum() ** (1 if squared else 0.5)
    for i, label in enumerate(labels):
        near = [d(i, j) for j in range(len(labels)) if j != i and labels[j] == label]
        far = [d(i, j) for j in range(len(labels)) if labels[j] != label]
        if near and far:
            losses.append(torch.relu(0.5 + max(near) - min(far)))
    return torch.stack(losses).mean() if losses else 0 * x.sum()


def pictures(library, result):
    n, c, h, w = dims(4, 1, 4)
    x, y, z = normal(n, c, h, w), normal(n, c, h, w), normal(n, c, *dims(2, 1, 4))
    compare(library, result, "gram_matrix", [x], lambda s, i: s.op("gram_matrix", i[0]), lambda t: gram(t[0]))
    compare(library, result, "content_cost", [y, x], lambda s, i: s.op("content_cost", i[0], i[1]),
            lambda t: ((t[0] - t[1]) ** 2).sum((1, 2, 3)) / (4 * c * h * w))
    compare(library, result, "style_cost", [z, x], lambda s, i: s.op("style_cost", i[0], i[1]),
            lambda t: ((gram(t[0]) - gram(t[1])) ** 2).sum((1, 2)) / (4 * c * c * (h * w) ** 2))
    for isotropic in (False, True):
        compare(library, result, "total_variation %d %s" % (isotropic, x.shape), [x],
                lambda s, i: s.op("total_variation", i[0], isotropic), lambda t: variation(t[0], isotropic))


def gram(x):
    return torch.einsum("nchw,ndhw->ncd", x, x)


def variation(x, isotropic):
    down, right = (F.pad(torch.diff(x, dim=d), (0, d == 3, 0, d == 2)) for d in (2, 3))
    if not isotropic:
        return (down.abs() + right.abs()).sum((1, 2, 3))
    square = down ** 2 + right ** 2
    return torch.sqrt(square[..., :, :].where(square > 0, torch.ones_like(square))).where(square > 0, 0 * square).sum((1, 2, 3))


families = [labelled, elementwise, embeddings, pictures]
