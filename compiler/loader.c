/* SPDX-License-Identifier: Apache-2.0
 * loader.c -- the small part of a linker that our own objects need: one mapping holds code and jump stubs (read, execute),
 * then constants and addresses of symbols outside (read), then data, so that every 32-bit distance fits.
 * Source: System V ABI, AMD64 supplement, relocation types. */
#include "loader.h"
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STUB_BYTES = 8 }; /* jmp *address(%rip), and two bytes of padding */
#define MAX_CODE ((size_t)1 << 30)

struct LoadedCode {
  uint8_t *base; size_t size; /* the mapping */
  void (**fini)(void); size_t n_fini;
};

typedef struct Load {
  const uint8_t *bytes; size_t size;
  const Elf64_Ehdr *head;
  const Elf64_Shdr *section; uint32_t n_sections;
  const Elf64_Sym *symbol; uint32_t n_symbols;
  const char *names; size_t n_names;
  size_t *place;       /* [section] offset in the mapping; SIZE_MAX: not loaded */
  size_t *common;      /* [symbol] offset of one that asks for memory of its own (SHN_COMMON: size, and alignment as value) */
  size_t stubs, table; /* offsets: [symbol] of each */
  size_t part[4];      /* where code, constants, data begin and all ends; whole pages */
  uint8_t *base;
  const char **why;
  char *text; size_t n_text; /* for *why */
} Load;

static bool refuse(Load *l, const char *what, const char *name) {
  snprintf(l->text, l->n_text, "object code: %s%s%s", what, name ? " " : "", name ? name : "");
  *l->why = l->text;
  return false;
}

static bool inside(const Load *l, uint64_t offset, uint64_t n) { return offset <= l->size && n <= l->size - offset; }

/* ---- reading ------------------------------------------------------------------------------------------------------- */
static bool read_sections(Load *l) {
  const Elf64_Ehdr *h = l->head = (const Elf64_Ehdr *)l->bytes;
  if (l->size < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 ||
      h->e_type != ET_REL || h->e_machine != EM_X86_64 || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shoff % 8)
    return refuse(l, "it is no x86-64 relocatable", NULL);
  l->n_sections = h->e_shnum;
  if (!inside(l, h->e_shoff, (uint64_t)l->n_sections * sizeof(Elf64_Shdr))) return refuse(l, "the section table is cut off", NULL);
  l->section = (const Elf64_Shdr *)(l->bytes + h->e_shoff);
  for (uint32_t i = 0; i < l->n_sections; i++) {
    const Elf64_Shdr *s = &l->section[i];
    if (s->sh_type != SHT_NOBITS && !inside(l, s->sh_offset, s->sh_size)) return refuse(l, "a section is cut off", NULL);
    if (s->sh_addralign > 4096 || (s->sh_addralign & (s->sh_addralign - 1))) return refuse(l, "a section's alignment is none", NULL);
    if (s->sh_type != SHT_SYMTAB) continue;
    if (s->sh_link >= l->n_sections || s->sh_offset % 8 || l->section[s->sh_link].sh_type != SHT_STRTAB)
      return refuse(l, "the symbol table has no names", NULL);
    const Elf64_Shdr *t = &l->section[s->sh_link];
    if (!inside(l, t->sh_offset, t->sh_size)) return refuse(l, "a section is cut off", NULL);
    l->symbol = (const Elf64_Sym *)(l->bytes + s->sh_offset), l->n_symbols = (uint32_t)(s->sh_size / sizeof(Elf64_Sym));
    l->names = (const char *)l->bytes + t->sh_offset, l->n_names = t->sh_size;
  }
  if (!l->n_symbols || !l->n_names || l->names[l->n_names - 1]) return refuse(l, "there are no symbols", NULL);
  for (uint32_t i = 0; i < l->n_symbols; i++)
    if (l->symbol[i].st_name >= l->n_names) return refuse(l, "a symbol's name is cut off", NULL);
  return true;
}

/* 0 code, 1 constants, 2 data, -1 not loaded. */
static int part_of(const Elf64_Shdr *s) {
  if (!(s->sh_flags & SHF_ALLOC)) return -1;
  return s->sh_flags & SHF_EXECINSTR ? 0 : s->sh_flags & SHF_WRITE ? 2 : 1;
}

/* Behind the data; zeros, as all of the mapping is. */
static bool lay_out_common(Load *l, size_t *at) {
  for (uint32_t i = 0; i < l->n_symbols; i++) {
    const Elf64_Sym *s = &l->symbol[i];
    if (s->st_shndx != SHN_COMMON) continue;
    const uint64_t align = s->st_value;
    if (!align || align > 4096 || (align & (align - 1)) || s->st_size > MAX_CODE || *at > MAX_CODE)
      return refuse(l, "no memory can be had for", l->names + s->st_name);
    *at = (*at + align - 1) & ~(align - 1);
    l->common[i] = *at, *at += s->st_size;
  }
  return true;
}

static bool lay_out(Load *l) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t at = 0;
  l->place = malloc((l->n_sections + 1) * sizeof *l->place), l->common = calloc(l->n_symbols, sizeof *l->common);
  if (!l->place || !l->common) return refuse(l, "out of memory", NULL);
  for (uint32_t i = 0; i < l->n_sections; i++) l->place[i] = SIZE_MAX;
  for (int part = 0; part < 3; part++) {
    l->part[part] = at;
    for (uint32_t i = 0; i < l->n_sections; i++) {
      const Elf64_Shdr *s = &l->section[i];
      if (part_of(s) != part) continue;
      const size_t align = s->sh_addralign ? s->sh_addralign : 1;
      at = (at + align - 1) & ~(align - 1);
      if (s->sh_size > MAX_CODE || at > MAX_CODE) return refuse(l, "it is too large", NULL);
      l->place[i] = at, at += s->sh_size;
    }
    at = (at + 15) & ~(size_t)15;
    if (part == 0) l->stubs = at, at += (size_t)l->n_symbols * STUB_BYTES;
    if (part == 1) l->table = at, at += (size_t)l->n_symbols * sizeof(uint64_t);
    if (part == 2 && !lay_out_common(l, &at)) return false;
    at = (at + page - 1) & ~(page - 1);
  }
  l->part[3] = at;
  return true;
}

/* ---- symbols and relocations ------------------------------------------------------------------------------------------ */
static bool is_outside(const Elf64_Sym *s) { return s->st_shndx == SHN_UNDEF; }

static bool address_of(Load *l, uint32_t i, uint64_t *out) {
  const Elf64_Sym *s = &l->symbol[i];
  const char *name = l->names + s->st_name;
  if (is_outside(s)) {
    *out = i ? (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, name) : 0;
    return !i || *out || ELF64_ST_BIND(s->st_info) == STB_WEAK || refuse(l, "nothing is called", name);
  }
  if (s->st_shndx == SHN_ABS) return *out = s->st_value, true;
  if (s->st_shndx == SHN_COMMON) return *out = (uint64_t)(uintptr_t)l->base + l->common[i], true;
  if (s->st_shndx >= l->n_sections) return refuse(l, "a symbol is of no section:", name);
  /* symbols of sections that are not loaded (names, notes) are never asked for by loaded ones */
  *out = l->place[s->st_shndx] == SIZE_MAX ? 0 : (uint64_t)(uintptr_t)l->base + l->place[s->st_shndx] + s->st_value;
  return true;
}

/* The table of addresses, and a stub for each symbol outside that jumps to what its entry says. */
static bool fill_tables(Load *l) {
  uint64_t *table = (uint64_t *)(l->base + l->table);
  for (uint32_t i = 0; i < l->n_symbols; i++) {
    if (!address_of(l, i, &table[i])) return false;
    if (!is_outside(&l->symbol[i])) continue;
    uint8_t *stub = l->base + l->stubs + (size_t)i * STUB_BYTES;
    const int32_t distance = (int32_t)((uint8_t *)&table[i] - (stub + 6));
    stub[0] = 0xff, stub[1] = 0x25, stub[6] = stub[7] = 0xcc;
    memcpy(stub + 2, &distance, sizeof distance);
  }
  return true;
}

static bool relocate_one(Load *l, const Elf64_Rela *r, uint8_t *at, size_t room) {
  const uint32_t i = (uint32_t)ELF64_R_SYM(r->r_info);
  if (i >= l->n_symbols) return refuse(l, "a relocation has no symbol", NULL);
  const Elf64_Sym *s = &l->symbol[i];
  uint64_t *entry = (uint64_t *)(l->base + l->table) + i;
  const uint64_t a = (uint64_t)r->r_addend, p = (uint64_t)(uintptr_t)at;
  uint64_t value = *entry + a;
  size_t n = 4;
  switch (ELF64_R_TYPE(r->r_info)) {
  case R_X86_64_NONE: return true;
  case R_X86_64_64: n = 8; break;
  case R_X86_64_PC64: n = 8, value -= p; break;
  case R_X86_64_PC32:
  case R_X86_64_PLT32:
    if (is_outside(s)) value = (uint64_t)(uintptr_t)(l->base + l->stubs + (size_t)i * STUB_BYTES) + a;
    value -= p;
    break;
  case R_X86_64_GOTPCREL:
  case R_X86_64_GOTPCRELX:
  case R_X86_64_REX_GOTPCRELX: value = (uint64_t)(uintptr_t)entry + a - p; break;
  default: return refuse(l, "an unknown kind of relocation for", l->names + s->st_name);
  }
  if (n > room) return refuse(l, "a relocation lies outside of its section", NULL);
  if (n == 4 && (int64_t)value != (int32_t)value) return refuse(l, "too far away:", l->names + s->st_name);
  memcpy(at, &value, n); /* little-endian, as the machine */
  return true;
}

static bool relocate(Load *l) {
  for (uint32_t k = 0; k < l->n_sections; k++) {
    const Elf64_Shdr *s = &l->section[k];
    if (s->sh_type == SHT_REL) return refuse(l, "relocations without addends", NULL);
    if (s->sh_type != SHT_RELA || s->sh_info >= l->n_sections || l->place[s->sh_info] == SIZE_MAX) continue;
    const Elf64_Shdr *to = &l->section[s->sh_info];
    if (s->sh_offset % 8 || to->sh_type == SHT_NOBITS) return refuse(l, "relocations of nothing", NULL);
    const Elf64_Rela *r = (const Elf64_Rela *)(l->bytes + s->sh_offset);
    for (uint64_t i = 0; i < s->sh_size / sizeof *r; i++) {
      if (r[i].r_offset >= to->sh_size) return refuse(l, "a relocation lies outside of its section", NULL);
      if (!relocate_one(l, &r[i], l->base + l->place[s->sh_info] + r[i].r_offset, to->sh_size - r[i].r_offset)) return false;
    }
  }
  return true;
}

/* ---- loading ------------------------------------------------------------------------------------------------------------- */
static bool map(Load *l) {
  void *base = mmap(NULL, l->part[3], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return refuse(l, "out of memory", NULL);
  l->base = base;
  for (uint32_t i = 0; i < l->n_sections; i++)
    if (l->place[i] != SIZE_MAX && l->section[i].sh_type != SHT_NOBITS)
      memcpy(l->base + l->place[i], l->bytes + l->section[i].sh_offset, l->section[i].sh_size);
  if (!fill_tables(l) || !relocate(l)) return false;
  return (mprotect(l->base, l->part[1], PROT_READ | PROT_EXEC) == 0 &&
          (l->part[2] == l->part[1] || mprotect(l->base + l->part[1], l->part[2] - l->part[1], PROT_READ) == 0)) ||
         refuse(l, "the system forbids to execute it", NULL);
}

/* Constructors run now, destructors when the code goes: sanitizers register what they watch. */
static void run_constructors(const Load *l, LoadedCode *c) {
  typedef void (*Function)(void);
  for (uint32_t i = 0; i < l->n_sections; i++) {
    const Elf64_Shdr *s = &l->section[i];
    if (l->place[i] == SIZE_MAX || (s->sh_type != SHT_INIT_ARRAY && s->sh_type != SHT_FINI_ARRAY)) continue;
    Function *f = (Function *)(void *)(l->base + l->place[i]);
    const size_t n = s->sh_size / sizeof *f;
    if (s->sh_type == SHT_FINI_ARRAY) c->fini = f, c->n_fini = n;
    else
      for (size_t k = 0; k < n; k++) f[k]();
  }
}

static void *find(const Load *l, const char *name) {
  for (uint32_t i = 1; i < l->n_symbols; i++)
    if (!is_outside(&l->symbol[i]) && !strcmp(l->names + l->symbol[i].st_name, name))
      return (void *)(uintptr_t)((const uint64_t *)(l->base + l->table))[i];
  return NULL;
}

/* A function that the job does not have has no symbol. */
static bool look_up(Load *l, JobFunction *f) {
  char name[160];
  if (!f->symbol) return true;
  snprintf(name, sizeof name, "%s_work", f->symbol);
  void *entry = find(l, f->symbol);
  const int64_t *work = find(l, name);
  if (!entry || !work) return refuse(l, "it does not define", entry ? name : f->symbol);
  *(void **)&f->entry = entry;
  f->work_bytes = *work;
  return true;
}

static bool look_up_all(Load *l, Job *job) {
  bool ok = look_up(l, &job->train.fn) && look_up(l, &job->gradient.fn);
  for (uint32_t i = 0; ok && i < job->n_evals; i++) ok = look_up(l, &job->evals[i].fn);
  for (uint32_t i = 0; ok && i < job->n_derived; i++) ok = look_up(l, &job->derived[i].fn);
  return ok;
}

LoadedCode *loader_open(const ObjectCode *o, Job *job, const char **why) {
  static _Thread_local char text[256];
  Load l = {.bytes = o->bytes, .size = o->size, .why = why, .text = text, .n_text = sizeof text};
  LoadedCode *c = calloc(1, sizeof *c);
  const bool ok = (c || refuse(&l, "out of memory", NULL)) && read_sections(&l) && lay_out(&l) && map(&l) && look_up_all(&l, job);
  if (ok) c->base = l.base, c->size = l.part[3], run_constructors(&l, c);
  else if (l.base) munmap(l.base, l.part[3]);
  free(l.place), free(l.common);
  if (ok) return c;
  free(c);
  return NULL;
}

void loader_close(LoadedCode *c) {
  if (!c) return;
  for (size_t i = 0; i < c->n_fini; i++) c->fini[i]();
  munmap(c->base, c->size);
  free(c);
}
