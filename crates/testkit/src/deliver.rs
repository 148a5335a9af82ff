//! An answer on its way, and what breaks it.

use std::io;

use tokio::time::sleep;

use crate::fault::{At, Break};
use crate::http::Conn;
use crate::laid::{Frame, LAST_CHUNK, Laid};
use crate::received::{Ended, Log, Slot};

/// What became of a connection after an answer.
pub(crate) enum After {
    /// It may carry another request.
    Open(Conn),
    /// It is closed, or about to be.
    Closed,
}

/// Hands an answer over.
pub(crate) async fn deliver(mut conn: Conn, laid: &Laid, log: &Log, slot: Slot) -> After {
    let outcome = Run { conn: &mut conn, log, slot }.send(laid).await;
    let (how, after) = match outcome {
        Ok(Outcome::Whole) if laid.plan.close => (Ended::Whole, After::Closed),
        Ok(Outcome::Whole) => (Ended::Whole, After::Open(conn)),
        Ok(Outcome::Broken) => (Ended::Broken, After::Closed),
        Ok(Outcome::Reset) => {
            conn.reset();
            (Ended::Broken, After::Closed)
        }
        Ok(Outcome::Abandoned) | Err(_) => (Ended::Abandoned, After::Closed),
    };
    log.ended(slot, how);
    after
}

enum Outcome {
    Whole,
    Broken,
    Reset,
    Abandoned,
}

struct Run<'a> {
    conn: &'a mut Conn,
    log: &'a Log,
    slot: Slot,
}

impl Run<'_> {
    async fn send(&mut self, laid: &Laid) -> io::Result<Outcome> {
        let Laid { head, frames, chunked, plan, again, at_once } = laid;
        if !plan.delay.is_zero() && !self.conn.while_here(sleep(plan.delay)).await {
            return Ok(Outcome::Abandoned);
        }
        if let Some(gate) = &plan.hold_head
            && !self.conn.while_here(gate.wait()).await
        {
            return Ok(Outcome::Abandoned);
        }
        if let Some(bytes) = at_once {
            for frame in frames {
                self.log.sent(self.slot, frame.payload());
            }
            self.conn.write(bytes).await?;
            return Ok(Outcome::Whole);
        }
        if let Some((At::Nothing, how)) = plan.breaks {
            return self.break_off(how).await;
        }
        self.conn.write(head).await?;
        if let Some((At::Head, how)) = plan.breaks {
            return self.break_off(how).await;
        }
        let mut bytes_sent = 0;
        for (index, frame) in frames.iter().enumerate() {
            if index > 0 && !plan.gap.is_zero() && !self.conn.while_here(sleep(plan.gap)).await {
                return Ok(Outcome::Abandoned);
            }
            for (_, gate) in plan.holds.iter().filter(|(at, _)| *at == index) {
                if !self.conn.while_here(gate.wait()).await {
                    return Ok(Outcome::Abandoned);
                }
            }
            let payload = frame.payload();
            match plan.breaks {
                Some((At::Frames(at), how)) if at == index => return self.break_off(how).await,
                Some((At::Bytes(at), how)) if at < bytes_sent + payload.len() => {
                    let part = &payload[..at - bytes_sent];
                    if !part.is_empty() {
                        self.frame(&Frame::new(part, *chunked)).await?;
                    }
                    return self.break_off(how).await;
                }
                _ => {}
            }
            self.frame(frame).await?;
            bytes_sent += payload.len();
            if let Some((after, more)) = again
                && *after == index
            {
                return self.for_ever(more).await;
            }
        }
        if let Some((_, how)) = plan.breaks {
            // The place lies behind the end: the body is whole, its end is not.
            return self.break_off(how).await;
        }
        if *chunked {
            self.conn.write(LAST_CHUNK).await?;
        }
        Ok(Outcome::Whole)
    }

    /// Logged first: who has seen the bytes finds them in the log.
    async fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        self.log.sent(self.slot, frame.payload());
        self.conn.write(&frame.wire).await
    }

    /// Until the client leaves, which fails the write.
    async fn for_ever(&mut self, more: &Frame) -> io::Result<Outcome> {
        loop {
            self.frame(more).await?;
            tokio::task::yield_now().await;
        }
    }

    async fn break_off(&mut self, how: Break) -> io::Result<Outcome> {
        match how {
            Break::Stall => {
                self.conn.left().await;
                Ok(Outcome::Abandoned)
            }
            Break::Cut => Ok(Outcome::Broken),
            Break::Reset => Ok(Outcome::Reset),
            Break::BadChunk => {
                self.conn.write(b"zz\r\nno chunk\r\n").await?;
                Ok(Outcome::Broken)
            }
        }
    }
}
