//! The MC146818 clock in the CMOS: it tells the time, which never stops and cannot be set.
//!
//! There are no alarms and no interrupts, and a guest that sets the clock is not heard: the host's is the
//! only one. The rest of the CMOS reads as zero.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{bytes, bytes_mut};
use crate::bus::BusDevice;

const INDEX: u64 = 0;
const DATA: u64 = 1;

mod register {
    pub(super) const SECONDS: u8 = 0x00;
    pub(super) const MINUTES: u8 = 0x02;
    pub(super) const HOURS: u8 = 0x04;
    pub(super) const WEEKDAY: u8 = 0x06;
    pub(super) const DAY: u8 = 0x07;
    pub(super) const MONTH: u8 = 0x08;
    pub(super) const YEAR: u8 = 0x09;
    pub(super) const A: u8 = 0x0a;
    pub(super) const B: u8 = 0x0b;
    pub(super) const D: u8 = 0x0d;
    pub(super) const CENTURY: u8 = 0x32;
}

/// Register A: 32 kHz base, 1024 Hz rate; "update in progress" is never set, so nobody waits.
const A_VALUE: u8 = 0x26;
const B_24_HOURS: u8 = 1 << 1;
const B_BINARY: u8 = 1 << 2;
/// What a guest may set in register B: the formats. Interrupt enables stay clear: there are none.
const B_WRITABLE: u8 = B_24_HOURS | B_BINARY | 1;
/// Register D: the battery is good.
const D_VALID: u8 = 1 << 7;
const HOUR_PM: u8 = 1 << 7;
/// The index port's top bit masks NMIs on a PC; it is no part of the index.
const INDEX_MASK: u8 = 0x7f;

type Clock = Box<dyn Fn() -> SystemTime + Send>;

/// The clock and its index register.
pub struct CmosRtc {
    clock: Clock,
    index: u8,
    format: u8,
}

impl CmosRtc {
    /// The first I/O port.
    pub const PORT: u64 = 0x70;
    /// Number of ports.
    pub const LEN: u64 = 2;
    /// The register that holds the century, for the FADT.
    pub const CENTURY: u8 = register::CENTURY;

    /// A clock that shows the host's time, in UTC.
    pub fn new() -> Self {
        CmosRtc::with_clock(Box::new(SystemTime::now))
    }

    fn with_clock(clock: Clock) -> Self {
        CmosRtc { clock, index: 0, format: B_24_HOURS }
    }

    fn register(&self) -> u8 {
        match self.index {
            register::A => A_VALUE,
            register::B => self.format,
            register::D => D_VALID,
            index => self.time(index).unwrap_or(0),
        }
    }

    fn time(&self, index: u8) -> Option<u8> {
        let now = DateTime::from_unix((self.clock)().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
        let value = match index {
            register::SECONDS => now.second,
            register::MINUTES => now.minute,
            register::HOURS => return Some(self.hour(now.hour)),
            register::WEEKDAY => now.weekday,
            register::DAY => now.day,
            register::MONTH => now.month,
            register::YEAR => now.year_of_century,
            register::CENTURY => now.century,
            _ => return None,
        };
        Some(self.encode(value))
    }

    fn hour(&self, hour: u8) -> u8 {
        if self.format & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        let pm = if hour >= 12 { HOUR_PM } else { 0 };
        let hour = match hour % 12 {
            0 => 12,
            hour => hour,
        };
        self.encode(hour) | pm
    }

    fn encode(&self, value: u8) -> u8 {
        match self.format & B_BINARY {
            0 => ((value / 10) << 4) | (value % 10),
            _ => value,
        }
    }
}

impl Default for CmosRtc {
    fn default() -> Self {
        CmosRtc::new()
    }
}

impl fmt::Debug for CmosRtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CmosRtc").field("index", &self.index).field("format", &self.format).finish()
    }
}

impl BusDevice for CmosRtc {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        for (port, byte) in bytes_mut(offset, data) {
            match port {
                INDEX => *byte = self.index,
                DATA => *byte = self.register(),
                _ => {}
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (port, value) in bytes(offset, data) {
            match port {
                INDEX => self.index = value & INDEX_MASK,
                DATA if self.index == register::B => self.format = value & B_WRITABLE,
                _ => {}
            }
        }
    }
}

/// A point in time by the Gregorian calendar.
#[derive(Debug, PartialEq, Eq)]
struct DateTime {
    century: u8,
    year_of_century: u8,
    month: u8,
    day: u8,
    /// Sunday is 1.
    weekday: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl DateTime {
    /// Seconds since 1970, not later than the year 9999.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "bounded by the year 9999; every divisor is a constant"
    )]
    fn from_unix(seconds: u64) -> Self {
        const DAY: u64 = 86_400;
        const LAST: u64 = 253_402_300_799;
        let seconds = seconds.min(LAST);
        let (days, time) = (seconds / DAY, seconds % DAY);
        // Count from 1 March of the year 0: leap days then end years, and 400 years repeat.
        let days_from_march = days + 719_468;
        let (era, day_of_era) = (days_from_march / 146_097, days_from_march % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March have 31 30 31 30 31 days, twice and again: 153 days in five of them.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        DateTime {
            century: (year / 100) as u8,
            year_of_century: (year % 100) as u8,
            month: month as u8,
            day: day as u8,
            weekday: ((days + 4) % 7 + 1) as u8,
            hour: (time / 3_600) as u8,
            minute: (time / 60 % 60) as u8,
            second: (time % 60) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_utils::read;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> CmosRtc {
        CmosRtc::with_clock(Box::new(move || UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    fn cmos(rtc: &mut CmosRtc, index: u8) -> u8 {
        rtc.write(0, &[index]);
        read(rtc, 1)
    }

    /// Hour, minute, second; day, month, year, century; weekday.
    fn all(rtc: &mut CmosRtc) -> [u8; 8] {
        [4, 2, 0, 7, 8, 9, 0x32, 6].map(|index| cmos(rtc, index))
    }

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        assert_eq!(all(&mut at(0)), [0, 0, 0, 1, 1, 0x70, 0x19, 5]);
        assert_eq!(all(&mut at(951_782_399)), [0x23, 0x59, 0x59, 0x28, 2, 0, 0x20, 2]);
        assert_eq!(all(&mut at(951_868_799)), [0x23, 0x59, 0x59, 0x29, 2, 0, 0x20, 3]);
        assert_eq!(all(&mut at(4_107_542_400)), [0, 0, 0, 1, 3, 0, 0x21, 2], "2100 has no leap day");
        assert_eq!(all(&mut at(1_735_689_599)), [0x23, 0x59, 0x59, 0x31, 0x12, 0x24, 0x20, 3]);
        assert_eq!(all(&mut at(u64::MAX >> 1))[5..7], [0x99, 0x99]);
    }

    #[test]
    fn register_b_chooses_the_format() {
        let mut rtc = at(82_800 + 60 * 45);
        assert_eq!((cmos(&mut rtc, 4), cmos(&mut rtc, 2)), (0x23, 0x45));
        rtc.write(0, &[0x0b, 0x06]);
        assert_eq!((cmos(&mut rtc, 4), cmos(&mut rtc, 2)), (23, 45));
        rtc.write(0, &[0x0b]);
        rtc.write(1, &[0x00]);
        assert_eq!(cmos(&mut rtc, 4), 0x91, "eleven at night, BCD, PM");
        rtc.write(0, &[0x0b]);
        rtc.write(1, &[0xf4]);
        assert_eq!(cmos(&mut rtc, 4), 11 | 0x80);
        assert_eq!(cmos(&mut rtc, 0x0b), 0x04, "no interrupts and no halt");
        let mut midnight = at(0);
        midnight.write(0, &[0x0b, 0x04]);
        assert_eq!(cmos(&mut midnight, 4), 12);
    }

    #[test]
    fn it_is_always_ready_and_the_rest_is_zero() {
        let mut rtc = at(0);
        assert_eq!(cmos(&mut rtc, 0x0a) & 0x80, 0);
        assert_eq!((cmos(&mut rtc, 0x0c), cmos(&mut rtc, 0x0d)), (0, 0x80));
        rtc.write(0, &[0x40, 0xaa]);
        assert_eq!(cmos(&mut rtc, 0x40), 0);
        assert_eq!(cmos(&mut rtc, 0x8d), 0x80, "the top bit is the NMI mask");
    }

    #[test]
    fn a_clock_before_1970_is_1970() {
        let mut rtc = CmosRtc::with_clock(Box::new(|| UNIX_EPOCH - Duration::from_secs(1)));
        assert_eq!(cmos(&mut rtc, 9), 0x70);
    }

    proptest! {
        #[test]
        fn any_access_at_any_time_is_survived(now: u32, accesses: Vec<(u64, Vec<u8>, bool)>) {
            let mut rtc = at(u64::from(now) << 9);
            for (offset, mut data, write) in accesses {
                let offset = offset % 3;
                if write { rtc.write(offset, &data) } else { rtc.read(offset, &mut data) }
            }
        }

        #[test]
        fn seconds_advance_by_days(day in 0u64..2_932_896) {
            let today = DateTime::from_unix(day * 86_400);
            let tomorrow = DateTime::from_unix((day + 1) * 86_400);
            prop_assert!(tomorrow.day == today.day + 1 || (tomorrow.day == 1 && today.day >= 28));
            prop_assert_eq!(tomorrow.weekday, today.weekday % 7 + 1);
        }
    }
}
