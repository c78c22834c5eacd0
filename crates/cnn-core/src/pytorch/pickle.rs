//! Python's pickle format, as far as state dicts are made of it: values are built, and no code is run.
//!
//! A pickle is a program for a stack machine (the module `pickletools` of Python has all of its instructions). Those that state
//! dicts need are here; a function that a pickle would call is only a name, and one that is not known here ends the reading.

use std::rc::Rc;

use super::objects::{Container, DATA, Storage, Value, broken, refused, storage, tensor};
use crate::Result;

/// A value and the containers that it names.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) root: Value,
    pub(super) containers: Vec<Container>,
    /// The storages that it names.
    pub(super) storages: Vec<Rc<Storage>>,
    /// How many bytes it took.
    pub(super) len: usize,
}

/// The deepest stack: a dictionary of a hundred thousand entries may lie on it at once.
const MOST_VALUES: usize = 1 << 20;
/// The most values that all containers hold together.
const MOST_HELD: usize = 1 << 22;

/// Reads the pickle that begins `bytes`.
///
/// # Errors
/// One that ends early, has instructions or calls that no state dict needs (by name), or builds what is none.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle> {
    let mut machine = Machine { bytes, ..Machine::default() };
    while machine.step()? {
        let Machine { stack, marks, memo, containers, storages, .. } = &machine;
        let most = [stack.len(), marks.len(), memo.len(), containers.len(), storages.len()].into_iter().max();
        if most > Some(MOST_VALUES) {
            return Err(broken(format!("more than {MOST_VALUES} values")));
        }
    }
    let root = machine.pop()?;
    Ok(Pickle { root, containers: machine.containers, storages: machine.storages, len: machine.at })
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack that `MARK` has noted.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    containers: Vec<Container>,
    storages: Vec<Rc<Storage>>,
    /// How many values the containers were given.
    held: usize,
}

impl<'a> Machine<'a> {
    /// Executes one instruction; false at the end.
    fn step(&mut self) -> Result<bool> {
        match self.byte()? {
            // PROTO, FRAME
            0x80 => drop(self.byte()?),
            0x95 => drop(self.array::<8>()?),
            b'.' => return Ok(false),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top.clone(), top]);
            }

            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.number::<1>(|bytes| bytes[0].into())?,
            b'M' => self.number(|bytes| u16::from_le_bytes(bytes).into())?,
            b'J' => self.number(|bytes| i32::from_le_bytes(bytes).into())?,
            // LONG1, LONG4
            0x8a => self.long::<1>()?,
            0x8b => self.long::<4>()?,
            b'G' => {
                self.array::<8>()?;
                self.stack.push(Value::Other);
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8; Python 2's SHORT_BINSTRING and BINSTRING, which names may be too
            0x8c | b'U' => self.text::<1>()?,
            b'X' | b'T' => self.text::<4>()?,
            0x8d => self.text::<8>()?,
            // SHORT_BINBYTES, BINBYTES, BINBYTES8
            b'C' => self.other::<1>()?,
            b'B' => self.other::<4>()?,
            0x8e => self.other::<8>()?,

            b')' => self.container(Value::Tuple),
            b't' => {
                let values = self.since_mark()?;
                self.tuple_of(values)?;
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b']' => self.container(Value::List),
            b'}' => self.container(Value::Dict),
            // EMPTY_SET, ADDITEMS
            0x8f => self.container(Value::List),
            b'l' => {
                let values = self.since_mark()?;
                self.container(Value::List);
                self.append(values)?;
            }
            b'd' => {
                let values = self.since_mark()?;
                self.container(Value::Dict);
                self.set(values)?;
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' | 0x90 => {
                let values = self.since_mark()?;
                self.append(values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![key, value])?;
            }
            b'u' => {
                let values = self.since_mark()?;
                self.set(values)?;
            }

            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let place = self.byte()?.into();
                self.memoize(place)?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.array()?) as usize;
                self.memoize(place)?;
            }
            0x94 => self.memoize(self.memo.len())?,
            b'h' => {
                let place = self.byte()?.into();
                self.remembered(place)?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.array()?) as usize;
                self.remembered(place)?;
            }

            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.stack.push(Value::Global(name.into()));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(broken("a class without a name"));
                };
                self.stack.push(Value::Global(format!("{module}.{name}").into()));
            }
            // REDUCE, NEWOBJ: a function called, an object of a class made
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = self.call(&function, &arguments)?;
                self.stack.push(result);
            }
            // BUILD: an object's attributes. Those of a dictionary, as `_metadata`, and of data are skipped.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                let storage = Rc::new(storage(&self.elements(&id).unwrap_or_default())?);
                self.storages.push(storage.clone());
                self.stack.push(Value::Storage(storage));
            }
            other => {
                let code =
                    if other.is_ascii_graphic() { format!("{:?}", char::from(other)) } else { format!("{other:#04x}") };
                return Err(broken(format!("the instruction {code} at byte {}", self.at - 1)));
            }
        }
        Ok(true)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| broken(format!("it ends within {len} bytes at {}", self.at)))?;
        self.at += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Bytes behind their number, which is `N` bytes long.
    fn counted<const N: usize>(&mut self) -> Result<&'a [u8]> {
        let mut number = [0; 8];
        number[..N].copy_from_slice(self.take(N)?);
        // What does not fit is longer than the file too.
        self.take(usize::try_from(u64::from_le_bytes(number)).unwrap_or(usize::MAX))
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| broken("it ends within a name"))?;
        let line = self.take(len + 1)?;
        Ok(String::from_utf8_lossy(&line[..len]).into_owned())
    }

    fn number<const N: usize>(&mut self, number: impl FnOnce([u8; N]) -> i64) -> Result<()> {
        let value = Value::Int(number(self.array()?));
        self.stack.push(value);
        Ok(())
    }

    /// An integer of any length, least significant byte first, in two's complement.
    fn long<const N: usize>(&mut self) -> Result<()> {
        let bytes = self.counted::<N>()?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        self.stack.push(match bytes.len() {
            len @ 0..=8 => {
                wide[..len].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            _ => Value::Other,
        });
        Ok(())
    }

    fn text<const N: usize>(&mut self) -> Result<()> {
        let text = String::from_utf8_lossy(self.counted::<N>()?).into();
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn other<const N: usize>(&mut self) -> Result<()> {
        self.counted::<N>()?;
        self.stack.push(Value::Other);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        let least = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= least {
            return Err(broken(format!("a value is missing at byte {}", self.at)));
        }
        self.stack.pop().ok_or_else(|| broken("a value is missing"))
    }

    fn since_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or_else(|| broken(format!("a mark is missing at byte {}", self.at)))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, len: usize) -> Result<()> {
        let mut values = (0..len).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        values.reverse();
        self.tuple_of(values)
    }

    /// A tuple of these values on the stack.
    fn tuple_of(&mut self, values: Vec<Value>) -> Result<()> {
        self.container(Value::Tuple);
        self.append(values)
    }

    /// What is in a tuple or list, without keys.
    fn elements(&self, value: &Value) -> Option<Vec<Value>> {
        match value {
            Value::Tuple(place) | Value::List(place) => {
                Some(self.containers[*place].values.iter().map(|(_, value)| value.clone()).collect())
            }
            _ => None,
        }
    }

    /// Counts values that containers take, so that a small file does not become a large heap.
    fn count(&mut self, values: usize) -> Result<()> {
        self.held += values;
        if self.held > MOST_HELD { Err(broken(format!("more than {MOST_HELD} values"))) } else { Ok(()) }
    }

    /// A new container on the stack.
    fn container(&mut self, kind: impl FnOnce(usize) -> Value) {
        self.stack.push(kind(self.containers.len()));
        self.containers.push(Container::default());
    }

    /// The container on top of the stack; none where there is an object whose entries are skipped.
    fn filled(&mut self) -> Result<Option<&mut Container>> {
        match self.stack.last() {
            Some(&(Value::Tuple(place) | Value::List(place) | Value::Dict(place))) => {
                Ok(self.containers.get_mut(place))
            }
            Some(Value::Other) => Ok(None),
            _ => Err(broken(format!("entries of what holds none, at byte {}", self.at))),
        }
    }

    fn append(&mut self, values: Vec<Value>) -> Result<()> {
        self.count(values.len())?;
        if let Some(container) = self.filled()? {
            container.values.extend(values.into_iter().map(|value| (Value::None, value)));
        }
        Ok(())
    }

    /// Puts keys and values, one after the other, into the dictionary on top of the stack.
    fn set(&mut self, values: Vec<Value>) -> Result<()> {
        if !values.len().is_multiple_of(2) {
            return Err(broken("a key without a value"));
        }
        self.count(values.len())?;
        if let Some(container) = self.filled()? {
            let mut values = values.into_iter();
            while let (Some(key), Some(value)) = (values.next(), values.next()) {
                container.values.push((key, value));
            }
        }
        Ok(())
    }

    fn memoize(&mut self, place: usize) -> Result<()> {
        let top = self.stack.last().cloned().ok_or_else(|| broken("nothing to remember"))?;
        if place >= MOST_VALUES {
            return Err(broken(format!("the place {place} of a memory")));
        }
        if place >= self.memo.len() {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(top);
        Ok(())
    }

    fn remembered(&mut self, place: usize) -> Result<()> {
        let value = self.memo.get(place).cloned().flatten();
        self.stack.push(value.ok_or_else(|| broken(format!("nothing was remembered at place {place}")))?);
        Ok(())
    }

    /// What a function makes of its arguments, of those few that are known.
    fn call(&mut self, function: &Value, arguments: &Value) -> Result<Value> {
        let (Value::Global(name), Some(arguments)) = (function, self.elements(arguments)) else {
            return Err(broken(format!("a call of what is no function, at byte {}", self.at)));
        };
        match (&**name, &arguments[..]) {
            ("collections.OrderedDict" | "builtins.dict" | "__builtin__.dict", []) | ("collections.defaultdict", _) => {
                self.container(Value::Dict);
                self.pop()
            }
            // Python 2 gives a list of pairs.
            ("collections.OrderedDict", [pairs]) => {
                let pairs = self.elements(pairs).ok_or_else(|| broken("an OrderedDict of what is no list"))?;
                self.container(Value::Dict);
                for pair in pairs {
                    let pair = self.elements(&pair).filter(|pair| pair.len() == 2);
                    self.set(pair.ok_or_else(|| broken("an OrderedDict of what are no pairs"))?)?;
                }
                self.pop()
            }
            (
                "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
                [storage, offset, shape, strides, ..],
            ) => {
                let sizes = |value| self.elements(value).ok_or_else(|| broken("a tensor without sizes"));
                tensor(storage, offset, &sizes(shape)?, &sizes(strides)?)
            }
            (
                "torch._utils._rebuild_parameter"
                | "torch._utils._rebuild_parameter_with_state"
                | "torch.nn.parameter.Parameter",
                [data @ Value::Tensor(_), ..],
            ) => Ok(data.clone()),
            ("torch.Size", [sizes]) => Ok(sizes.clone()),
            (name, _) if DATA.contains(&name) => Ok(Value::Other),
            (name, _) => Err(refused(name)),
        }
    }
}
