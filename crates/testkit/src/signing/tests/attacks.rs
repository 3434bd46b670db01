//! What an attacker does to a signed stream, and what only looks like an attack.

use super::*;

fn authority_and_how() -> (Authority, Signing) {
    let authority = Authority::new();
    let how = Signing::of(authority.identity(2030));
    (authority, how)
}

/// Without the messages that have a signature or certificates: what somebody without the key can make.
fn without_signed(film: &mut Film, codec: VideoCodec) {
    let is_unsigned = |nal: &Vec<u8>| {
        is_slice(nal) || footage::signing::SigningSei::parse(codec, nal).is_ok_and(|sei| !sei.is_signed())
    };
    film.iter_mut().for_each(|nals| nals.retain(is_unsigned));
}

#[test]
fn forged_gops_with_statements_that_nobody_signed_are_not_taken_for_the_tail() {
    let (authority, how) = authority_and_how();
    for codec in CODECS {
        let mut signer = Signer::new(how.clone(), codec);
        let mut whole = film(&mut signer, codec, 0..30);
        whole[29].extend(signer.finish(time(30)));
        let forger = Signing { gops_per_signature: 1_000, ..how.clone() };
        let mut forged = film(&mut Signer::new(forger, codec), codec, 35..90);
        without_signed(&mut forged, codec);
        whole.extend(forged);
        let report = verify(codec, &whole, &authority.anchors);
        assert_eq!(report.verdict, Verdict::NotAuthentic, "{codec:?}: {report:#?}");
    }
}

#[test]
fn a_camera_that_signs_each_third_gop_has_a_tail_of_three() {
    let (authority, how) = authority_and_how();
    let how = Signing { gops_per_signature: 3, ..how };
    for codec in CODECS {
        for pictures in 20..60 {
            let report = verify(codec, &signed(&how, codec, pictures), &authority.anchors);
            assert_eq!(report.verdict, Verdict::Authentic, "{codec:?}, {pictures}: {report:#?}");
        }
    }
}

#[test]
fn the_start_of_a_session_that_is_shown_twice_is_not_authentic() {
    let (authority, how) = authority_and_how();
    for codec in CODECS {
        let mut signer = Signer::new(how.clone(), codec);
        let mut whole = film(&mut signer, codec, 0..32);
        whole[31].extend(signer.finish(time(32)));
        whole.extend(whole.clone());
        let report = verify(codec, &whole, &authority.anchors);
        assert_eq!(report.verdict, Verdict::NotAuthentic, "{codec:?}: {report:#?}");
    }
}

#[test]
fn older_pictures_of_another_session_after_newer_ones_are_not_authentic() {
    let (authority, how) = authority_and_how();
    for codec in CODECS {
        let old = signed(&how, codec, 60);
        let mut signer = Signer::new(how.clone(), codec);
        let mut whole = film(&mut signer, codec, 190..210);
        whole[19].extend(signer.finish(time(210)));
        whole.extend_from_slice(&old[35..]);
        // The statement on the GOP before would tell that it is not there.
        whole[21].retain(|nal| is_slice(nal));
        let report = verify(codec, &whole, &authority.anchors);
        assert_eq!(report.verdict, Verdict::NotAuthentic, "{codec:?}: {report:#?}");
        let reason = report.stretches.iter().find_map(|stretch| stretch.reason);
        assert_eq!(reason, Some(Reason::BrokenLink), "{codec:?}: {report:#?}");
    }
}

#[test]
fn pictures_of_kinds_that_are_never_signed_are_not_called_authentic() {
    let (authority, how) = authority_and_how();
    // A data partition (H.264 §7.3.2.9), and a picture of a temporal sub-layer (H.265 §7.4.2.2).
    for (codec, header) in [(VideoCodec::H264, vec![0x42]), (VideoCodec::H265, vec![3 << 1, 2])] {
        let mut whole = signed(&how, codec, 32);
        whole[7].push([&header[..], &[0x88, 1, 2, 3, 0x80]].concat());
        let report = verify(codec, &whole, &authority.anchors);
        assert_eq!(report.verdict, Verdict::NotSigned, "{codec:?}: {report:#?}");
    }
}

#[test]
fn bytes_that_no_length_covers_are_not_authentic() {
    let (authority, how) = authority_and_how();
    for codec in CODECS {
        let mut verifier = Verifier::new(codec, authority.anchors.clone());
        for (n, nals) in signed(&how, codec, 32).iter().enumerate() {
            let mut bytes = unit(nals);
            if n == 7 {
                bytes.extend([0xff, 0xff, 0xff, 0xff, 0x41, 0x88, 1, 2, 3]);
            }
            verifier.push(&bytes, time(n));
        }
        let report = verifier.finish();
        assert_eq!(report.verdict, Verdict::NotAuthentic, "{codec:?}: {report:#?}");
    }
}

#[test]
fn a_missing_slice_of_a_part_leaves_the_next_part_authentic() {
    let (authority, how) = authority_and_how();
    let how = Signing { pictures_per_part: 2, ..how };
    for codec in CODECS {
        for picture in 5..20 {
            for slice in 0..2 {
                let mut film = signed(&how, codec, 32);
                let slices = film[picture].iter().filter(|nal| is_slice(nal)).count();
                let begins_gop = slice == 0 && picture.is_multiple_of(5);
                if begins_gop {
                    continue;
                }
                let at = film[picture].len() - slices + slice;
                film[picture].remove(at);
                let report = verify(codec, &film, &authority.anchors);
                let at = format!("{codec:?}, slice {slice} of picture {picture}: {report:#?}");
                assert_eq!(report.verdict, Verdict::AuthenticWithMissing, "{at}");
                assert_eq!(report.stretches.iter().map(|s| s.missing).sum::<u64>(), 1, "{at}");
            }
        }
    }
}

#[test]
fn an_altered_slice_of_a_part_is_not_authentic() {
    let (authority, how) = authority_and_how();
    let how = Signing { pictures_per_part: 2, ..how };
    for codec in CODECS {
        for picture in 5..20 {
            let mut film = signed(&how, codec, 32);
            film[picture].last_mut().unwrap()[4] ^= 1;
            let report = verify(codec, &film, &authority.anchors);
            assert_eq!(report.verdict, Verdict::NotAuthentic, "{codec:?}, picture {picture}: {report:#?}");
        }
    }
}

#[test]
fn a_stretch_from_any_gop_is_authentic_however_the_camera_signs() {
    let (authority, how) = authority_and_how();
    for codec in CODECS {
        for how in [
            Signing { hash_list: false, ..how.clone() },
            Signing { gops_per_signature: 3, ..how.clone() },
            Signing { pictures_per_part: 2, ..how.clone() },
            Signing { certificate_every_gops: 2, ..how.clone() },
        ] {
            let film = signed(&how, codec, 60);
            let first = unit(&film[0]);
            let certificate = signing_seis(codec, &first).next().unwrap();
            for from in [5, 10, 15, 20] {
                let mut verifier = Verifier::new(codec, authority.anchors.clone());
                verifier.remember(certificate);
                film[from..].iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), time(from + n)));
                let report = verifier.finish();
                assert_eq!(report.verdict, Verdict::Authentic, "{how:?} from {from}: {report:#?}");
            }
        }
    }
}

#[test]
fn the_stream_of_another_camera_of_the_same_authority_is_not_authentic() {
    let authority = Authority::new();
    let camera = |name| Signing::of(authority.identity_of(name, 2030));
    for codec in CODECS {
        let mut signer = Signer::new(camera("gate"), codec);
        let mut whole = film(&mut signer, codec, 0..15);
        whole[14].extend(signer.finish(time(15)));
        whole.extend(film(&mut Signer::new(camera("yard"), codec), codec, 15..32));
        let report = verify(codec, &whole, &authority.anchors);
        assert_eq!(report.verdict, Verdict::NotAuthentic, "{report:#?}");
    }
}

fn verify_later(codec: VideoCodec, film: &Film, anchors: &Anchors, seconds: i64) -> Report {
    let mut verifier = Verifier::new(codec, anchors.clone());
    let later = |n| WallTime(time(n).0 + seconds * TICKS_PER_SECOND);
    film.iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), later(n)));
    verifier.finish()
}

#[test]
fn pictures_of_yesterday_are_authentic_and_their_signed_time_is_remarked() {
    let (authority, how) = authority_and_how();
    for codec in CODECS {
        let film = signed(&how, codec, 32);
        for (later, remark) in
            [(86_400, Some(Remark::SignedTimeDiffers)), (-31, Some(Remark::SignedTimeDiffers)), (29, None)]
        {
            let report = verify_later(codec, &film, &authority.anchors, later);
            assert_eq!(report.verdict, Verdict::Authentic, "the bytes are as they were signed: {report:#?}");
            let [stretch] = &report.stretches[..] else { panic!("one stretch: {report:#?}") };
            assert_eq!(stretch.remark, remark, "{later} s: {report:#?}");
            assert_eq!((stretch.signed_start, stretch.signed_last), (Some(time(0)), Some(time(30))), "{report:#?}");
            assert_eq!(stretch.start.0 - time(0).0, later * TICKS_PER_SECOND);
        }
    }
}

#[test]
fn a_time_that_no_certificate_signed_is_not_shown() {
    let (_, how) = authority_and_how();
    let mut film = signed(&how, VideoCodec::H264, 32);
    film[0].retain(|nal| is_slice(nal));
    let report = verify(VideoCodec::H264, &film, &Anchors::default());
    assert_eq!(report.stretches[0].reason, Some(Reason::NoCertificate));
    assert!(report.stretches.iter().all(|stretch| stretch.signed_start.is_none()), "{report:#?}");
}

/// Pictures before and after an interruption.
fn verify_interrupted(codec: VideoCodec, before: &[Vec<Vec<u8>>], after: &[Vec<Vec<u8>>], anchors: &Anchors) -> Report {
    let mut verifier = Verifier::new(codec, anchors.clone());
    before.iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), time(n)));
    verifier.interrupted();
    after.iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), time(before.len() + n)));
    verifier.finish()
}

#[test]
fn a_connection_that_is_lost_makes_nothing_less_authentic() {
    let authority = Authority::new();
    let how = Signing::of(authority.identity(2030));
    for codec in CODECS {
        for how in [
            how.clone(),
            Signing { gops_per_signature: 3, ..how.clone() },
            Signing { pictures_per_part: 2, ..how.clone() },
        ] {
            let film = signed(&how, codec, 90);
            for lost_at in 31..40 {
                // The camera goes on, and the recorder with it, from a later GOP.
                let report = verify_interrupted(codec, &film[..lost_at], &film[60..], &authority.anchors);
                assert_eq!(report.verdict, Verdict::AuthenticWithMissing, "{how:?}, {lost_at}: {report:#?}");
                // The camera was restarted, and signs from the start of a session.
                let again = super::film(&mut Signer::new(how.clone(), codec), codec, 60..120);
                let report = verify_interrupted(codec, &film[..lost_at], &again, &authority.anchors);
                assert_eq!(report.verdict, Verdict::Authentic, "{how:?}, {lost_at}: {report:#?}");
            }
        }
    }
}

#[test]
fn forged_gops_before_an_interruption_are_not_authentic() {
    let (authority, how) = authority_and_how();
    for codec in CODECS {
        let film = signed(&how, codec, 90);
        let mut before = film[..50].to_vec();
        before[30..].iter_mut().for_each(|nals| nals.retain(|nal| is_slice(nal)));
        let report = verify_interrupted(codec, &before, &film[60..], &authority.anchors);
        assert_eq!(report.verdict, Verdict::NotAuthentic, "{codec:?}: {report:#?}");
    }
}

#[test]
fn statements_without_end_cost_no_more_than_pictures() {
    let (authority, how) = authority_and_how();
    let codec = VideoCodec::H264;
    let mut film = signed(&how, codec, 200);
    film.iter_mut().skip(7).for_each(|nals| nals.retain(|nal| is_slice(nal)));
    let statement = signed(&Signing { hash_list: false, ..how }, codec, 32)[6][0].clone();
    film.push(vec![statement; 20_000]);
    let report = verify(codec, &film, &authority.anchors);
    assert_eq!(report.verdict, Verdict::NotAuthentic);
    assert!(report.stretches.iter().any(|stretch| stretch.reason == Some(Reason::TooManyStatements)), "{report:#?}");
}

#[test]
fn another_coding_in_between_hides_no_replay_and_makes_nothing_less_authentic() {
    let (authority, how) = authority_and_how();
    let [first, second] = CODECS;
    let films = [signed(&how, first, 32), signed(&how, second, 32)];
    for (films, verdict) in [
        (vec![(first, &films[0]), (second, &films[1])], Verdict::Authentic),
        (vec![(first, &films[0]), (second, &films[1]), (first, &films[0])], Verdict::NotAuthentic),
    ] {
        let mut verifier = Verifier::new(first, authority.anchors.clone());
        for (codec, film) in films {
            verifier.recoded(codec);
            film.iter().enumerate().for_each(|(n, nals)| verifier.push(&unit(nals), time(n)));
        }
        let report = verifier.finish();
        assert_eq!(report.verdict, verdict, "{report:#?}");
    }
}
