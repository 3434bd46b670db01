//! Bits of a raw byte sequence payload (RBSP), read from a NAL unit as it travels: emulation prevention bytes are passed
//! over (H.264 §7.3.1, H.265 §7.3.1.1).

/// Reads bits from the front of a NAL unit's payload. `None` at the end of it.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    zeros: u8,
    byte: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    /// What follows the NAL unit header.
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, zeros: 0, byte: 0, left: 0 }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if self.zeros >= 2 && first == 3 {
            self.zeros = 0;
            return self.next_byte();
        }
        self.zeros = if first == 0 { self.zeros.saturating_add(1) } else { 0 };
        Some(first)
    }

    /// u(1).
    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.byte = self.next_byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// u(n), n up to 32.
    pub(super) fn u(&mut self, bits: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..bits {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    pub(super) fn skip(&mut self, bits: u32) -> Option<()> {
        (0..bits).try_for_each(|_| self.flag().map(drop))
    }

    /// ue(v) (§9.1 of both standards).
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.u(zeros)?)
    }

    /// ue(v) that the standard limits to `max`.
    pub(super) fn ue_up_to(&mut self, max: u32) -> Option<u32> {
        self.ue().filter(|value| *value <= max)
    }

    /// se(v) (§9.1.1).
    pub(super) fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let value = if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 };
        i32::try_from(value).ok()
    }

    /// Whole bytes; only where nothing of a byte has been read.
    pub(super) fn byte(&mut self) -> Option<u8> {
        self.next_byte()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_read_across_bytes() {
        // 1 | 010 | 011 | 00100 | 00101 | 1...
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1100_0000]);
        let codes: Vec<_> = (0..5).map(|_| bits.ue()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4].map(Some));
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1100_0000]);
        let codes: Vec<_> = (0..5).map(|_| bits.se()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2].map(Some));
    }

    #[test]
    fn emulation_prevention_bytes_are_no_payload() {
        let mut bits = Bits::new(&[0, 0, 3, 1, 0, 0, 3]);
        assert_eq!(bits.u(32), Some(0x0000_0100));
        assert_eq!(bits.u(8), Some(0));
        assert_eq!(bits.u(1), None);
    }

    #[test]
    fn a_code_without_end_is_none() {
        assert_eq!(Bits::new(&[0; 3]).ue(), None);
        assert_eq!(Bits::new(&[0xff, 0, 0, 3, 0, 0, 3, 0]).clone().u(9), Some(0b1_1111_1110));
        assert_eq!(Bits::new(&[0, 0, 3, 0, 0, 3, 0, 1]).ue(), None);
    }
}
