//! What a guest's conversions cost, told at its end (`--stats`).

use std::fmt;
use std::time::Duration;

use cloister_coco::memory::{ConvertEvent, ConvertStats, Converter, DirectionStats, HostMemory, Target};
use serde_json::{Value, json};

/// Everything that is known about a guest's memory when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryReport {
    pub(crate) stats: ConvertStats,
    /// The last conversions, the oldest first.
    pub(crate) timeline: Vec<ConvertEvent>,
    /// None where the host cannot tell.
    pub(crate) host: Option<HostMemory>,
    /// Accesses of devices to private pages, or outside RAM, that were refused.
    pub(crate) refused_accesses: u64,
}

/// Stretches of time that the time line is told in.
const STRETCHES: u32 = 10;

impl MemoryReport {
    /// What there is to say now.
    pub(crate) fn of(converter: &Converter) -> Self {
        MemoryReport {
            stats: converter.stats(),
            timeline: converter.timeline(),
            host: converter.host_memory(),
            refused_accesses: converter.memory().refused(),
        }
    }

    /// The report as one JSON object. Times are in microseconds.
    pub(crate) fn json(&self) -> Value {
        let direction = |d: &DirectionStats| {
            json!({
                "conversions": d.conversions,
                "pages": d.pages,
                "micros": micros(d.time),
                "longest-micros": micros(d.longest),
            })
        };
        let event = |e: &ConvertEvent| {
            json!({
                "at-micros": micros(e.at),
                "gpa": e.gpa,
                "pages": e.pages,
                "to": name(e.to),
                "took-micros": micros(e.took),
                "done": e.done,
            })
        };
        json!({
            "private-bytes": self.stats.private_bytes,
            "shared-bytes": self.stats.shared_bytes,
            "host-memory": self.host.map(|h| json!({ "shared-bytes": h.shared, "private-bytes": h.private })),
            "to-private": direction(&self.stats.to_private),
            "to-shared": direction(&self.stats.to_shared),
            "refused": self.stats.refused,
            "refused-accesses": self.refused_accesses,
            "sizes": sizes(&self.stats)
                .map(|(pages, n)| json!({ "up-to-pages": pages, "conversions": n }))
                .collect::<Vec<_>>(),
            "timeline": self.timeline.iter().map(event).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryReport { stats, timeline, host, refused_accesses } = self;
        writeln!(f, "memory       private {}, shared {}", mib(stats.private_bytes), mib(stats.shared_bytes))?;
        match host {
            Some(h) => writeln!(
                f,
                "of the host  {} behind the private side, {} behind the shared side",
                mib(h.private),
                mib(h.shared)
            )?,
            None => writeln!(f, "of the host  unknown: this kernel has no cachestat (Linux 6.5)")?,
        }
        for (what, d) in [("to private", &stats.to_private), ("to shared", &stats.to_shared)] {
            writeln!(
                f,
                "{what:<12} {} conversions, {} pages, {} in all, the longest {}",
                d.conversions,
                d.pages,
                time(d.time),
                time(d.longest)
            )?;
        }
        writeln!(
            f,
            "refused      {} conversions, {refused_accesses} accesses of devices to private pages",
            stats.refused
        )?;
        let sizes: Vec<_> = sizes(stats).map(|(pages, n)| format!("{n} of up to {pages}")).collect();
        if !sizes.is_empty() {
            writeln!(f, "by pages     {}", sizes.join(", "))?;
        }
        write_timeline(f, timeline)
    }
}

/// The time line in stretches of equal length, those in which nothing happened left out.
fn write_timeline(f: &mut fmt::Formatter<'_>, timeline: &[ConvertEvent]) -> fmt::Result {
    let (Some(first), Some(last)) = (timeline.first(), timeline.last()) else { return Ok(()) };
    let stretch = last.at.saturating_sub(first.at) / STRETCHES;
    writeln!(f, "the last {} conversions, by when they were done:", timeline.len())?;
    for index in 0..STRETCHES {
        let from = first.at + stretch * index;
        let within = |e: &&ConvertEvent| {
            e.at >= from && (e.at < from + stretch || index == STRETCHES - 1 || stretch.is_zero())
        };
        let events: Vec<_> = timeline.iter().filter(within).collect();
        if events.is_empty() {
            continue;
        }
        let count = |to| events.iter().filter(|e| e.to == to && e.done).count();
        let pages = |to| events.iter().filter(|e| e.to == to && e.done).map(|e| e.pages).sum::<u64>();
        let refused = events.iter().filter(|e| !e.done).count();
        writeln!(
            f,
            "  from {:>10}  to private {} ({} pages), to shared {} ({} pages), refused {refused}",
            time(from),
            count(Target::Private),
            pages(Target::Private),
            count(Target::Shared),
            pages(Target::Shared),
        )?;
        if stretch.is_zero() {
            break;
        }
    }
    Ok(())
}

/// The classes of the histogram that are not empty: pages at most, conversions.
fn sizes(stats: &ConvertStats) -> impl Iterator<Item = (u64, u64)> {
    stats.sizes.iter().enumerate().filter(|(_, n)| **n > 0).map(|(class, n)| (1 << class, *n))
}

fn name(to: Target) -> &'static str {
    match to {
        Target::Private => "private",
        Target::Shared => "shared",
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn time(time: Duration) -> String {
    match time {
        t if t >= Duration::from_secs(1) => format!("{:.2} s", t.as_secs_f64()),
        t if t >= Duration::from_millis(1) => format!("{:.1} ms", t.as_secs_f64() * 1e3),
        t => format!("{} µs", t.as_micros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> MemoryReport {
        let mut stats = ConvertStats { private_bytes: 3 << 20, shared_bytes: 1 << 20, ..Default::default() };
        stats.to_shared = DirectionStats { conversions: 2, pages: 5, ..Default::default() };
        stats.sizes[0] = 1;
        stats.sizes[2] = 1;
        stats.refused = 1;
        let event = |at, pages, to, done| ConvertEvent {
            at: Duration::from_millis(at),
            gpa: 0x1000,
            pages,
            to,
            took: Duration::from_micros(7),
            done,
        };
        let timeline = vec![
            event(0, 1, Target::Shared, true),
            event(1, 4, Target::Shared, true),
            event(100, 9, Target::Private, false),
        ];
        MemoryReport {
            stats,
            timeline,
            host: Some(HostMemory { shared: 1 << 20, private: 0 }),
            refused_accesses: 2,
        }
    }

    #[test]
    fn the_table_says_all_of_it_once() {
        let text = report().to_string();
        for part in [
            "private 3.0 MiB, shared 1.0 MiB",
            "1.0 MiB behind the shared side",
            "2 conversions, 5 pages",
            "1 conversions, 2 accesses",
            "1 of up to 1, 1 of up to 4",
            "to shared 2 (5 pages), refused 0",
            "to shared 0 (0 pages), refused 1",
        ] {
            assert_eq!(text.matches(part).count(), 1, "{part}\n{text}");
        }
    }

    #[test]
    fn events_of_one_instant_are_told_once() {
        let mut report = report();
        report.timeline.iter_mut().for_each(|e| e.at = Duration::from_secs(1));
        let text = report.to_string();
        assert_eq!(text.lines().filter(|l| l.contains("from")).count(), 1, "{text}");
    }

    #[test]
    fn json_has_the_same_numbers() {
        let json = report().json();
        assert_eq!(json["to-shared"]["pages"], 5);
        assert_eq!(json["host-memory"]["shared-bytes"], 1 << 20);
        assert_eq!(json["timeline"][2]["done"], false);
        assert_eq!(json["sizes"][1], json!({ "up-to-pages": 4, "conversions": 1 }));
    }
}
