//! What `router` refuses, and in which words.

use super::harness::devices;
use super::refusals::{Change, Of, text};
use expertile::{Device, Dtype, ExpertGroups, Router, RouterInput, Scoring, router};

/// The arguments of a call: 3 tokens of 16 elements choose 2 of 8 experts.
struct Arguments {
    h: Of,
    weight: Of,
    /// In place of both.
    given: Option<Of>,
    bias: Option<Of>,
    /// Forced, ids, weights, logits, counts, probabilities.
    tensors: [Option<Of>; 6],
    p_norm: Option<f32>,
    groups: Option<ExpertGroups>,
}

impl Arguments {
    fn right() -> Arguments {
        let (slots, scores) = ([3, 2], [3, 8]);
        let of = |dtype, shape: &[u64]| Some(Of::new(dtype, shape));
        Arguments {
            h: Of::new(Dtype::Bf16, &[3, 16]),
            weight: Of::new(Dtype::Bf16, &[8, 16]),
            given: None,
            bias: None,
            tensors: [
                of(Dtype::I32, &slots),
                of(Dtype::I32, &slots),
                of(Dtype::F32, &slots),
                of(Dtype::F32, &scores),
                of(Dtype::I32, &[8]),
                of(Dtype::F32, &scores),
            ],
            p_norm: Some(1.0),
            groups: None,
        }
    }

    fn at(&mut self, place: usize) -> &mut Of {
        self.tensors[place].as_mut().unwrap()
    }

    /// With that many experts, whose logits are given.
    fn of_experts(&mut self, experts: u64) {
        self.given = Some(Of::new(Dtype::F16, &[3, experts]));
        [3, 4, 5].into_iter().for_each(|place| self.tensors[place] = None);
    }

    fn with_slots(&mut self, slots: u64) {
        (0..3).for_each(|place| self.at(place).2[1] = slots);
    }

    fn submit(&self, device: &Device) -> expertile::Result<()> {
        let read = |of: &Of| of.read(device);
        let written = |place: usize| self.tensors[place].as_ref().map(|of| of.written(device));
        let input = match &self.given {
            Some(given) => RouterInput::Logits(read(given)),
            None => RouterInput::Hidden {
                h: read(&self.h),
                weight: read(&self.weight),
                round_logits: false,
            },
        };
        let arguments = Router {
            input,
            scoring: match &self.bias {
                None => Scoring::Softmax { p_norm: self.p_norm },
                Some(bias) => Scoring::Sigmoid { bias: Some(read(bias)), normalize: true },
            },
            groups: self.groups,
            scale: 1.0,
            forced: self.tensors[0].as_ref().map(read),
            ids: written(1).unwrap(),
            weights: written(2).unwrap(),
            logits: written(3),
            counts: written(4),
            probabilities: written(5),
        };
        router(&device.stream()?, &arguments)
    }
}

#[test]
fn router_says_what_it_refuses() {
    let changes: [Change<Arguments>; 34] = [
        (|a| a.at(1).2 = vec![6], "ids is [6], expected of shape [tokens, top_k]"),
        (|a| a.weight.2 = vec![128], "weight is [128], expected of shape [experts, hidden]"),
        (
            |a| a.given = Some(Of::new(Dtype::F32, &[24])),
            "logits is [24], expected of shape [tokens, experts]",
        ),
        (|a| a.h.2 = vec![3, 24], "h has shape [3, 24], expected [3, 16]"),
        (|a| a.weight.1 = Dtype::F16, "weight is f16, expected bf16"),
        (|a| a.h.0 += 2, "h is at address 0x100002, expected a multiple of 16 bytes"),
        (
            |a| a.weight.3 = Some(vec![20, 1]),
            "weight is of strides [20, 1], expected a last stride of 1 and multiples of 8 elements before it",
        ),
        (
            |a| (a.h.1, a.weight.1) = (Dtype::I64, Dtype::I64),
            "no kernel for dtype i64, only for bf16, f16 and f32",
        ),
        (|a| a.bias = Some(Of::new(Dtype::F32, &[7])), "bias has shape [7], expected [8]"),
        (|a| a.bias = Some(Of::new(Dtype::Bf16, &[8])), "bias is bf16, expected f32"),
        (|a| a.at(0).2 = vec![6], "forced has shape [6], expected [3, 2]"),
        (|a| a.at(0).1 = Dtype::I64, "forced is i64, expected i32"),
        (|a| a.at(0).3 = Some(vec![4, 1]), "forced is of strides [4, 1], expected dense"),
        (|a| a.at(1).1 = Dtype::F32, "ids is f32, expected i32"),
        (|a| a.at(1).0 += 2, "ids is at address 0x100002, expected a multiple of 4"),
        (|a| a.at(2).2 = vec![3, 3], "weights has shape [3, 3], expected [3, 2]"),
        (|a| a.at(3).1 = Dtype::Bf16, "logits is bf16, expected f32"),
        (|a| a.at(3).3 = Some(vec![16, 1]), "logits is of strides [16, 1], expected dense"),
        (|a| a.at(4).2 = vec![16], "counts has shape [16], expected [8]"),
        (|a| a.at(5).2 = vec![3, 7], "probabilities has shape [3, 7], expected [3, 8]"),
        (
            |a| a.given = Some(Of::new(Dtype::F32, &[3, 8])),
            "logits is given and to be kept, expected one of both",
        ),
        (
            |a| {
                a.of_experts(8);
                a.given.as_mut().unwrap().3 = Some(vec![16, 2]);
            },
            "logits is of strides [16, 2], expected of dense rows",
        ),
        (|a| a.with_slots(0), "ids is of 0 slots, expected of 1 to experts = 8 slots"),
        (|a| a.with_slots(9), "ids is of 9 slots, expected of 1 to experts = 8 slots"),
        (
            |a| {
                a.of_experts(17);
                a.with_slots(17);
            },
            "no kernel for top_k 17, only for at most 16",
        ),
        (|a| a.of_experts(257), "no kernel for experts 257, only for at most 256"),
        (|a| a.p_norm = Some(0.0), "p_norm is 0, expected above 0"),
        (|a| a.p_norm = Some(f32::NAN), "p_norm is NaN, expected above 0"),
        (|a| a.p_norm = Some(0.0009), "no kernel for p_norm 0.0009, only for from 2^-10"),
        (
            |a| a.groups = Some(ExpertGroups { count: 3, chosen: 1 }),
            "groups.count is 3, expected a divisor of experts = 8",
        ),
        (
            |a| a.groups = Some(ExpertGroups { count: 4, chosen: 5 }),
            "groups.chosen is 5, expected at most 4, and top_k = 2 experts in them",
        ),
        (
            |a| a.groups = Some(ExpertGroups { count: 8, chosen: 1 }),
            "groups.chosen is 1, expected at most 8, and top_k = 2 experts in them",
        ),
        (
            |a| {
                a.of_experts(66);
                a.groups = Some(ExpertGroups { count: 33, chosen: 33 });
            },
            "no kernel for 33 groups, only for at most 32",
        ),
        (
            |a| (a.h.2[1], a.weight.2[1]) = (12, 12),
            "no kernel for hidden 12, only for multiples of 8 from 8",
        ),
    ];
    for device in devices() {
        for (change, refusal) in changes {
            let mut arguments = Arguments::right();
            change(&mut arguments);
            assert_eq!(text(arguments.submit(device)), format!("router: {refusal}"));
        }
        let mut long = Arguments::right();
        (long.h.2[1], long.weight.2[1]) = (1 << 25, 1 << 25);
        let found = text(long.submit(device));
        assert_eq!(found, "router: no kernel for hidden 33554432, only for at most 16777216");
        let mut none = Arguments::right();
        none.h.2[0] = 0;
        [0, 1, 2, 3, 5].into_iter().for_each(|place| none.at(place).2[0] = 0);
        assert_eq!(text(none.submit(device)), "no error");
        none.groups = Some(ExpertGroups { count: 0, chosen: 0 });
        let refusal = "router: groups.count is 0, expected a divisor of experts = 8";
        assert_eq!(text(none.submit(device)), refusal);
    }
}
