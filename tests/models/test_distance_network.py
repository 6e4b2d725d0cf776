"""TEDSeg's segmentation network sees distances and nothing else."""

import pytest
import torch

from padseg.losses import cosine_distance, segmentation_loss
from padseg.models import FeaturePair, SegmentationOptions
from padseg.models.distance_network import DistanceNetwork
from padseg.models.layers import smooth_to
from padseg.models.scores import distance_weighted_map, log_distances, mean_distance_map

CHANNELS = (6, 8)


def up(x, size):
    return torch.nn.functional.interpolate(x, size, mode="bilinear")


def network(**options):
    torch.manual_seed(0)
    return DistanceNetwork(CHANNELS, SegmentationOptions(width=16), **options)


def settled(head):
    """Batch norms that do not depend on the batch, and logits that depend on the distances."""
    for part in head.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()
    for member in head.members:
        torch.nn.init.normal_(member.out.weight)
    return head


def pair(batch=2, size=(20, 12)):
    generator = torch.Generator().manual_seed(1)
    shapes = [(batch, 6, *size), (batch, 8, size[0] // 2, size[1] // 2)]
    sides = [[torch.rand(shape, generator=generator) for shape in shapes] for _ in range(2)]
    return FeaturePair(*sides)


@pytest.mark.parametrize("products", [0, 2])
@pytest.mark.parametrize("size", [(20, 12), (13, 9)])
def test_logits(size, products):
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(products=products)(pair(size=size)).detach()
    assert logits.shape == (2, 1, *size)
    assert logits.dtype == torch.float32
    assert logits.mean() == pytest.approx(-2, abs=0.2)


def test_features_of_the_same_distances_are_the_same():
    """But not those of other products, of levels that enter as products."""
    seen = pair()
    turned = FeaturePair([3 * x.flip(1) for x in seen.teacher], [x.flip(1) for x in seen.student])
    head = network().eval()
    expected = head(seen)
    torch.testing.assert_close(head(turned), expected)
    assert not torch.allclose(head(seen._replace(student=seen.teacher)), expected)
    head = network(products=1).eval()
    expected = head(seen)
    assert not torch.allclose(head(turned), expected)
    sides = [[a[0], b[1]] for a, b in zip(seen[:2], turned[:2], strict=True)]
    torch.testing.assert_close(head(FeaturePair(*sides)), expected)


def test_in_training_each_image_is_mirrored_and_its_logits_are_mirrored_back():
    one = pair(batch=1)
    head = settled(network(products=1))
    trained = head(FeaturePair(*([x.expand(4, -1, -1, -1) for x in side] for side in one[:2])))
    for dims, logits in zip(((), (-1,), (-2,), (-2, -1)), trained, strict=True):
        mirrored = FeaturePair(*([x.flip(dims) for x in side] for side in one[:2]))
        expected = head.eval()(mirrored)[0].flip(dims)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(trained[0], trained[1])


def test_the_logits_are_the_mean_of_those_of_its_members():
    seen, head = pair(), settled(network(products=1, members=3)).eval()
    alone = []
    for member in head.members:
        single = network(products=1).eval()
        single.members[0].load_state_dict(member.state_dict())
        alone.append(single(seen))
    assert not torch.allclose(alone[0], alone[1])
    torch.testing.assert_close(head(seen), torch.stack(alone).mean(dim=0))


def test_members_learn_as_they_would_alone():
    """Up to the factor of the mean."""
    seen, mask = pair(batch=4), torch.rand(4, 1, 20, 12).round()
    head = network(products=1, members=2)
    single = network(products=1)
    single.members[0].load_state_dict(head.members[0].state_dict())
    logits = head(seen)
    assert logits.shape == (4, 2, 20, 12)
    segmentation_loss(logits, mask, gamma=0.0, l1_weight=0.0).backward()
    segmentation_loss(single(seen), mask, gamma=0.0, l1_weight=0.0).backward()
    for both, one in zip(head.members[0].parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(2 * both.grad, one.grad)


def test_members_see_an_image_mirrored_in_different_ways():
    head = settled(network(members=2))
    head.members[1].load_state_dict(head.members[0].state_dict())
    logits = head(pair(batch=4))
    for image, (one, other) in enumerate(logits):
        assert not torch.allclose(one, other), image


def test_images_are_mirrored_by_their_number_in_the_stream():
    seen = pair(batch=4)
    head = settled(network(members=2))
    numbers = torch.tensor([7, 4, 1, 2])
    whole = head(seen._replace(number=numbers))
    sides = [[x.split(1) for x in side] for side in seen[:2]]
    for at in range(4):
        one = FeaturePair(*([x[at] for x in side] for side in sides))
        alone = head(one._replace(number=numbers[at : at + 1]))
        torch.testing.assert_close(alone, whole[at : at + 1], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(
            head(one._replace(number=numbers[at : at + 1] + 1)), alone, atol=1e-3
        )


def test_the_distance_of_a_place_is_the_geometric_mean_of_its_levels():
    seen, size = pair(size=(20, 20)), (20, 20)
    one, two = (cosine_distance(*level)[:, None] for level in zip(*seen[:2], strict=True))
    expected = (one * up(two.log(), size).exp()).sqrt()
    smooth = smooth_to(expected, size, (20 / 128, 20 / 128))
    torch.testing.assert_close(mean_distance_map([seen], size), smooth)


def test_the_distance_of_several_pairs_is_their_geometric_mean():
    """At the places of the finest."""
    fine, coarse = pair(size=(20, 12)), pair(size=(8, 6))
    size = (160, 96)
    both = mean_distance_map([coarse, fine], size)
    means = [log_distances(one, (20, 12)).mean(dim=1, keepdim=True) for one in (fine, coarse)]
    smooth = smooth_to((sum(means) / 2).exp(), size, (160 / 128, 96 / 128))
    torch.testing.assert_close(both, smooth)
    torch.testing.assert_close(both, mean_distance_map([fine, coarse], size))


def test_the_score_map_weighs_probabilities_by_the_distances():
    seen, size = pair(), (160, 96)
    far = mean_distance_map([seen], size)
    assert far.shape == (2, 1, *size)
    assert 0 < far.min() < far.max() < 1
    plain = distance_weighted_map(torch.full((2, 1, 20, 12), 0.3), size, [seen])
    torch.testing.assert_close(plain, torch.tensor(0.3).sigmoid() * far)
    spot = torch.full((2, 1, 20, 12), -9.0)
    spot[:, :, 5, 5] = 9
    row, column = divmod(int(distance_weighted_map(spot, size, [seen])[0].argmax()), size[1])
    assert (row // 8, column // 8) == (5, 5)
