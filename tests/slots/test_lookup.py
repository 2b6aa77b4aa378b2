"""What is looked up in tables, and as products, as it is done on a GPU."""

import torch
from torch import nn

from musediff.engines.slots.lookup import picked, picked_by_product, summed, summed_by_product


def test_a_product_with_ones_says_what_looking_up_says_and_teaches_the_same() -> None:
    torch.manual_seed(0)
    tables = [nn.Embedding(size, 6) for size in (3, 11, 2)]
    classes = [torch.randint(table.num_embeddings, (4, 5)) for table in tables]
    asked, aim = list(zip(tables, classes, strict=True)), torch.randn(4, 5, 6)
    gradients = []
    for way in (summed, summed_by_product):
        found = way(asked)
        gradients.append(torch.autograd.grad((found * aim).sum(), [table.weight for table in tables]))
    torch.testing.assert_close(summed_by_product(asked), summed(asked))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_are_picked_by_a_product_as_by_their_numbers() -> None:
    rows, which = torch.randn(3, 7, 4), torch.randint(7, (3, 5))
    torch.testing.assert_close(picked_by_product(rows, which), picked(rows, which))
    assert torch.equal(picked(rows, which)[2, 1], rows[2, which[2, 1]])
