//! What `router_loss` refuses, and in which words.

use super::harness::devices;
use super::refusals::{Change, Of, text};
use expertile::{Dtype, RouterLoss, router_loss, router_loss_workspace_bytes};

#[test]
fn router_loss_says_what_it_refuses() {
    // 300 tokens choose 4 of 16 experts; two chunks of 50 sums each.
    let right = || {
        [
            Of::new(Dtype::Bf16, &[300, 16]),
            Of::new(Dtype::I32, &[300, 4]),
            Of::new(Dtype::F32, &[3]),
            Of::new(Dtype::I32, &[16]),
            Of::new(Dtype::F32, &[16]),
            Of::new(Dtype::I32, &[100]),
        ]
    };
    let changes: [Change<[Of; 6]>; 23] = [
        (|a| a[0].2 = vec![4800], "logits is [4800], expected of shape [tokens, experts]"),
        (|a| a[0].1 = Dtype::I64, "no kernel for dtype i64, only for bf16, f16 and f32"),
        (|a| a[0].3 = Some(vec![32, 2]), "logits is of strides [32, 2], expected of dense rows"),
        (|a| a[0].0 += 1, "logits is at address 0x100001, expected a multiple of 2"),
        (|a| a[1].2 = vec![1200], "ids has shape [1200], expected [300, 0]"),
        (|a| a[1].2[0] = 299, "ids has shape [299, 4], expected [300, 4]"),
        (|a| a[1].1 = Dtype::I64, "ids is i64, expected i32"),
        (|a| a[1].3 = Some(vec![5, 1]), "ids is of strides [5, 1], expected dense"),
        (|a| a[1].2[1] = 0, "no kernel for top_k 0, only for 1 to 16"),
        (|a| a[1].2[1] = 17, "no kernel for top_k 17, only for 1 to 16"),
        (|a| a[2].2 = vec![2], "losses has shape [2], expected [3]"),
        (|a| a[2].1 = Dtype::Bf16, "losses is bf16, expected f32"),
        (|a| a[3].2 = vec![17], "counts has shape [17], expected [16]"),
        (|a| a[3].0 += 2, "counts is at address 0x100002, expected a multiple of 4"),
        (|a| a[4].2 = vec![15], "mean_probabilities has shape [15], expected [16]"),
        (|a| a[4].3 = Some(vec![2]), "mean_probabilities is of strides [2], expected dense"),
        (
            |a| a[5].2 = vec![99],
            "workspace is of 99 elements, expected at least 100, router_loss_workspace_bytes / 4",
        ),
        (|a| a[5].1 = Dtype::F32, "workspace is f32, expected i32"),
        (|a| a[5].2 = vec![10, 10], "workspace has shape [10, 10], expected [10]"),
        (
            |a| [0, 1].iter().for_each(|&place| a[place].2[0] = 1 << 31),
            "no kernel for tokens 2147483648, only for 0 to 2147483647",
        ),
        (
            |a| [0, 1].iter().for_each(|&place| a[place].2[0] = (1 << 31) - 1),
            "workspace is of 100 elements, expected at least 419430400, ",
        ),
        (|a| of_experts(a, 0), "no kernel for experts 0, only for 1 to 256"),
        (|a| of_experts(a, 257), "no kernel for experts 257, only for 1 to 256"),
    ];
    for device in devices() {
        let stream = device.stream().unwrap();
        for (change, refusal) in changes {
            let mut arguments = right();
            change(&mut arguments);
            let [logits, ids, losses, counts, mean_probabilities, workspace] = &arguments;
            let result = router_loss(
                &stream,
                &RouterLoss {
                    logits: logits.read(device),
                    ids: ids.read(device),
                    losses: losses.written(device),
                    counts: counts.written(device),
                    mean_probabilities: mean_probabilities.written(device),
                    workspace: workspace.written(device),
                },
            );
            let found = text(result);
            assert!(found.starts_with(&format!("router_loss: {refusal}")), "{found}");
        }
    }
}

fn of_experts(arguments: &mut [Of; 6], experts: u64) {
    arguments[0].2[1] = experts;
    [3, 4].into_iter().for_each(|place| arguments[place].2[0] = experts);
}

#[test]
fn the_workspace_has_the_sums_of_each_chunk() {
    let bytes = router_loss_workspace_bytes;
    assert_eq!([bytes(0, 16), bytes(1, 16), bytes(256, 16), bytes(257, 16)], [0, 200, 200, 400]);
    assert_eq!(bytes((1 << 31) - 1, 256), (1 << 23) * 770 * 4);
    for (tokens, experts) in [(1, u64::MAX), (u64::MAX, 256), (u64::MAX, u64::MAX)] {
        assert_eq!(bytes(tokens, experts), u64::MAX, "{tokens}, {experts}");
    }
}
