//! Any edit of a signed stream: what is called authentic is what the camera signed, in its order.

use proptest::prelude::*;

use super::*;

/// One edit of the NAL units of a stream, at places that are taken modulo its length.
#[derive(Clone, Debug)]
enum Edit {
    Remove(usize),
    Swap(usize, usize),
    Copy(usize, usize),
    Flip(usize, usize),
    Cut(usize, usize),
    Repeat(usize, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = 0usize..10_000;
    prop_oneof![
        place.clone().prop_map(Edit::Remove),
        (place.clone(), place.clone()).prop_map(|(a, b)| Edit::Swap(a, b)),
        (place.clone(), place.clone()).prop_map(|(a, b)| Edit::Copy(a, b)),
        (place.clone(), place.clone()).prop_map(|(a, b)| Edit::Flip(a, b)),
        (place.clone(), 0usize..40).prop_map(|(a, count)| Edit::Cut(a, count)),
        (place.clone(), 0usize..40, place).prop_map(|(a, count, to)| Edit::Repeat(a, count, to)),
    ]
}

fn apply(edit: &Edit, nals: &mut Vec<Vec<u8>>) {
    let len = nals.len();
    if len == 0 {
        return;
    }
    let run = |at: usize, count: usize| at % len..(at % len + count).min(len);
    match *edit {
        Edit::Remove(at) => drop(nals.remove(at % len)),
        Edit::Swap(a, b) => nals.swap(a % len, b % len),
        Edit::Copy(from, to) => nals.insert(to % len, nals[from % len].clone()),
        Edit::Flip(at, byte) => {
            let nal = &mut nals[at % len];
            let byte = byte % nal.len();
            nal[byte] ^= 1;
        }
        Edit::Cut(at, count) => drop(nals.drain(run(at, count))),
        Edit::Repeat(at, count, to) => {
            let copy = nals[run(at, count)].to_vec();
            nals.splice(to % len..to % len, copy);
        }
    }
}

/// Whether `some` are of `all`, in their order; `close` where nothing may be missing between.
fn is_of(some: &[&Vec<u8>], all: &[&Vec<u8>], close: bool) -> bool {
    if close {
        return some.is_empty() || all.windows(some.len()).any(|window| window == some);
    }
    let mut left = all.iter();
    some.iter().all(|nal| left.any(|other| other == nal))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_edit_makes_authentic_what_the_camera_did_not_sign(
        edits in prop::collection::vec(edit(), 1..5),
        is_h265 in any::<bool>(),
        hash_list in any::<bool>(),
        pictures_per_part in 0u32..3,
        interrupted_at in prop::option::of(0usize..120),
    ) {
        let codec = if is_h265 { VideoCodec::H265 } else { VideoCodec::H264 };
        let authority = Authority::new();
        let how = Signing { hash_list, pictures_per_part, ..Signing::of(authority.identity(2030)) };
        let original: Vec<Vec<u8>> = signed(&how, codec, 40).concat();
        let mut edited = original.clone();
        edits.iter().for_each(|edit| apply(edit, &mut edited));
        let mut verifier = Verifier::new(codec, authority.anchors.clone());
        for (n, nal) in edited.iter().enumerate() {
            if Some(n) == interrupted_at {
                verifier.interrupted();
            }
            verifier.push(&unit(std::slice::from_ref(nal)), time(n / 3));
        }
        let report = verifier.finish();
        let slices = |nals: &[Vec<u8>]| -> Vec<_> {
            nals.iter().filter(|nal| slice(codec, nal).is_some()).cloned().collect()
        };
        let (original, edited) = (slices(&original), slices(&edited));
        let total = |of: fn(&footage::signing::Stretch) -> u64| report.stretches.iter().map(of).sum::<u64>();
        let counted = total(|s| s.authentic) + total(|s| s.altered) + report.unverified_at_start + report.unverified_at_end;
        prop_assert!(counted >= edited.len() as u64, "each slice is counted: {report:#?}");
        let is_authentic = matches!(report.verdict, Verdict::Authentic | Verdict::AuthenticWithMissing);
        if is_authentic && interrupted_at.is_none() {
            let from = report.unverified_at_start as usize;
            let until = edited.len() - report.unverified_at_end as usize;
            let verified: Vec<_> = edited[from..until].iter().collect();
            let close = report.verdict == Verdict::Authentic;
            let all: Vec<_> = original.iter().collect();
            prop_assert!(is_of(&verified, &all, close), "{report:#?}");
        }
    }
}
