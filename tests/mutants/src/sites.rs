//! Where in a source file each mutant goes.

use std::collections::BTreeMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::list::{Genre, Mutant};

/// A piece of source that is written otherwise, so that mutants can be switched on in it.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// What is replaced; empty where something is only put in.
    pub(crate) span: Range<usize>,
    pub(crate) kind: SiteKind,
}

/// What is written there instead.
#[derive(Debug, Clone)]
pub(crate) enum SiteKind {
    /// The start of a function's body: each mutant returns a value at once.
    Entry(Vec<(usize, String)>),
    /// The iterator that a function returns: the mutant returns nothing of it.
    Drained(usize),
    /// An operator between two operands: each mutant has another one.
    Binary { left: Range<usize>, right: Range<usize>, mutants: Vec<(usize, String)> },
    /// An operator before an operand: the mutant has none.
    Unary { operand: Range<usize>, mutant: usize },
    /// The guard of a match arm, or the place where there is none.
    Guard { delete: Option<usize>, constants: Vec<(usize, String)> },
    /// The value of a field beside a base: the mutant takes the base's.
    Field { name: String, is_shorthand: bool, base: Range<usize>, mutant: usize },
    /// The word `const` of a function in which mutants are switched on, which no constant function can ask.
    Const,
}

struct Finder<'a> {
    /// The mutants of the file by genre and where what they replace starts.
    wanted: BTreeMap<(Genre, usize), Vec<&'a Mutant>>,
    sites: Vec<Site>,
}

/// The sites of the mutants of one file. A mutant that has no site cannot be switched.
pub(crate) fn find(source: &str, mutants: &[&Mutant]) -> Result<Vec<Site>, syn::Error> {
    let file = syn::parse_file(source)?;
    let mut wanted: BTreeMap<(Genre, usize), Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        wanted.entry((mutant.genre, mutant.span.start)).or_default().push(mutant);
    }
    let mut finder = Finder { wanted, sites: Vec::new() };
    finder.visit_file(&file);
    let mut sites = finder.sites;
    // Outer ones first, and what is only put in before what starts there.
    sites.sort_by_key(|site| (site.span.start, !site.span.is_empty(), std::cmp::Reverse(site.span.end)));
    Ok(sites)
}

fn range(item: &impl Spanned) -> Range<usize> {
    item.span().byte_range()
}

impl Finder<'_> {
    fn take(&mut self, genre: Genre, start: usize) -> Vec<(usize, String)> {
        let found = self.wanted.remove(&(genre, start)).unwrap_or_default();
        found.into_iter().map(|mutant| (mutant.id, mutant.replacement.clone())).collect()
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let before = self.sites.len();
        if let Some(first) = block.stmts.first() {
            let start = range(first).start;
            let mutants = self.take(Genre::FunctionValue, start);
            // Each `return` of such a function has one type, so nothing can be returned but less of the same.
            let is_opaque = matches!(&signature.output, syn::ReturnType::Type(_, kind) if matches!(**kind, syn::Type::ImplTrait(_)));
            if is_opaque {
                let empty = mutants.iter().find(|(_, value)| value.ends_with("iter::empty()"));
                if let (Some((mutant, _)), Some(syn::Stmt::Expr(value, None))) = (empty, block.stmts.last()) {
                    self.sites.push(Site { span: range(value), kind: SiteKind::Drained(*mutant) });
                }
            } else if !mutants.is_empty() {
                self.sites.push(Site { span: start..start, kind: SiteKind::Entry(mutants) });
            }
        }
        visit::visit_block(self, block);
        if let Some(word) = signature.constness.as_ref().filter(|_| self.sites.len() > before) {
            self.sites.push(Site { span: range(word), kind: SiteKind::Const });
        }
    }
}

/// Whether an operand binds names, as those of `&&` may: then the expression can stand only where it stands.
fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
    }

    // The value of a constant is known before any switch is read.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let mutants = self.take(Genre::BinaryOperator, range(&binary.op).start);
        if !mutants.is_empty() && !binds(&binary.left) && !binds(&binary.right) {
            let (left, right) = (range(&*binary.left), range(&*binary.right));
            self.sites.push(Site { span: range(binary), kind: SiteKind::Binary { left, right, mutants } });
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        for (mutant, _) in self.take(Genre::UnaryOperator, range(&unary.op).start) {
            let operand = range(&*unary.expr);
            self.sites.push(Site { span: range(unary), kind: SiteKind::Unary { operand, mutant } });
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let delete = self.take(Genre::MatchArm, range(arm).start).first().map(|(id, _)| *id);
        let guard = arm.guard.as_ref().map(|(_, guard)| range(&**guard));
        let mut constants =
            guard.as_ref().map(|guard| self.take(Genre::MatchArmGuard, guard.start)).unwrap_or_default();
        if arm.guard.as_ref().is_some_and(|(_, guard)| binds(guard)) {
            constants.clear();
        }
        if delete.is_some() || !constants.is_empty() {
            let end = range(&arm.pat).end;
            self.sites.push(Site { span: guard.unwrap_or(end..end), kind: SiteKind::Guard { delete, constants } });
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, item: &'ast syn::ExprStruct) {
        for field in &item.fields {
            let mutants = self.take(Genre::StructField, range(field).start);
            if let (Some((mutant, _)), Some(base), syn::Member::Named(name)) =
                (mutants.first(), &item.rest, &field.member)
            {
                let kind = SiteKind::Field {
                    name: name.to_string(),
                    is_shorthand: field.colon_token.is_none(),
                    base: range(&**base),
                    mutant: *mutant,
                };
                self.sites.push(Site { span: range(&field.expr), kind });
            }
        }
        visit::visit_expr_struct(self, item);
    }
}
