/* SPDX-License-Identifier: Apache-2.0
 * loader.c -- the small part of a linker that our own objects need: one mapping holds code and jump stubs of all objects (read,
 * execute), then constants and addresses of symbols outside (read), then data, so that every 32-bit distance fits.
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
  void (**fini[OBJECT_PARTS])(void); size_t n_fini[OBJECT_PARTS];
};

typedef struct Object {
  const uint8_t *bytes; size_t size;
  const Elf64_Shdr *section; uint32_t n_sections;
  const Elf64_Sym *symbol; uint32_t n_symbols;
  const char *names; size_t n_names;
  size_t *place;       /* [section] offset in the mapping; SIZE_MAX: not loaded */
  size_t *common;      /* [symbol] offset of one that asks for memory of its own (SHN_COMMON: size, and alignment as value) */
  bool *far;           /* [symbol] found outside of all objects */
  size_t stubs, table; /* offsets: [symbol] of each */
} Object;

typedef struct Load {
  Object object[OBJECT_PARTS]; uint32_t n;
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

static bool inside(const Object *o, uint64_t offset, uint64_t n) { return offset <= o->size && n <= o->size - offset; }

/* ---- reading ------------------------------------------------------------------------------------------------------- */
static bool read_sections(Load *l, Object *o) {
  const Elf64_Ehdr *h = (const Elf64_Ehdr *)o->bytes;
  if (o->size < sizeof *h || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 ||
      h->e_type != ET_REL || h->e_machine != EM_X86_64 || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shoff % 8)
    return refuse(l, "it is no x86-64 relocatable", NULL);
  o->n_sections = h->e_shnum;
  if (!inside(o, h->e_shoff, (uint64_t)o->n_sections * sizeof(Elf64_Shdr))) return refuse(l, "the section table is cut off", NULL);
  o->section = (const Elf64_Shdr *)(o->bytes + h->e_shoff);
  for (uint32_t i = 0; i < o->n_sections; i++) {
    const Elf64_Shdr *s = &o->section[i];
    if (s->sh_type != SHT_NOBITS && !inside(o, s->sh_offset, s->sh_size)) return refuse(l, "a section is cut off", NULL);
    if (s->sh_addralign > 4096 || (s->sh_addralign & (s->sh_addralign - 1))) return refuse(l, "a section's alignment is none", NULL);
    if (s->sh_type != SHT_SYMTAB) continue;
    if (s->sh_link >= o->n_sections || s->sh_offset % 8 || o->section[s->sh_link].sh_type != SHT_STRTAB)
      return refuse(l, "the symbol table has no names", NULL);
    const Elf64_Shdr *t = &o->section[s->sh_link];
    if (!inside(o, t->sh_offset, t->sh_size)) return refuse(l, "a section is cut off", NULL);
    o->symbol = (const Elf64_Sym *)(o->bytes + s->sh_offset), o->n_symbols = (uint32_t)(s->sh_size / sizeof(Elf64_Sym));
    o->names = (const char *)o->bytes + t->sh_offset, o->n_names = t->sh_size;
  }
  if (!o->n_symbols || !o->n_names || o->names[o->n_names - 1]) return refuse(l, "there are no symbols", NULL);
  for (uint32_t i = 0; i < o->n_symbols; i++)
    if (o->symbol[i].st_name >= o->n_names) return refuse(l, "a symbol's name is cut off", NULL);
  return true;
}

/* 0 code, 1 constants, 2 data, -1 not loaded. */
static int part_of(const Elf64_Shdr *s) {
  if (!(s->sh_flags & SHF_ALLOC)) return -1;
  return s->sh_flags & SHF_EXECINSTR ? 0 : s->sh_flags & SHF_WRITE ? 2 : 1;
}

/* Behind the data; zeros, as all of the mapping is. */
static bool lay_out_common(Load *l, Object *o, size_t *at) {
  for (uint32_t i = 0; i < o->n_symbols; i++) {
    const Elf64_Sym *s = &o->symbol[i];
    if (s->st_shndx != SHN_COMMON) continue;
    const uint64_t align = s->st_value;
    if (!align || align > 4096 || (align & (align - 1)) || s->st_size > MAX_CODE || *at > MAX_CODE)
      return refuse(l, "no memory can be had for", o->names + s->st_name);
    *at = (*at + align - 1) & ~(align - 1);
    o->common[i] = *at, *at += s->st_size;
  }
  return true;
}

/* One object's code, constants or data. */
static bool lay_out_part(Load *l, Object *o, int part, size_t *at) {
  for (uint32_t i = 0; i < o->n_sections; i++) {
    const Elf64_Shdr *s = &o->section[i];
    if (part_of(s) != part) continue;
    const size_t align = s->sh_addralign ? s->sh_addralign : 1;
    *at = (*at + align - 1) & ~(align - 1);
    if (s->sh_size > MAX_CODE || *at > MAX_CODE) return refuse(l, "it is too large", NULL);
    o->place[i] = *at, *at += s->sh_size;
  }
  *at = (*at + 15) & ~(size_t)15;
  if (part == 0) o->stubs = *at, *at += (size_t)o->n_symbols * STUB_BYTES;
  if (part == 1) o->table = *at, *at += (size_t)o->n_symbols * sizeof(uint64_t);
  return part != 2 || lay_out_common(l, o, at);
}

static bool lay_out(Load *l) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t at = 0;
  for (uint32_t k = 0; k < l->n; k++) {
    Object *o = &l->object[k];
    o->place = malloc((o->n_sections + 1) * sizeof *o->place), o->common = calloc(o->n_symbols, sizeof *o->common);
    o->far = calloc(o->n_symbols, sizeof *o->far);
    if (!o->place || !o->common || !o->far) return refuse(l, "out of memory", NULL);
    for (uint32_t i = 0; i < o->n_sections; i++) o->place[i] = SIZE_MAX;
  }
  for (int part = 0; part < 3; part++) {
    l->part[part] = at;
    for (uint32_t k = 0; k < l->n; k++)
      if (!lay_out_part(l, &l->object[k], part, &at)) return false;
    at = (at + page - 1) & ~(page - 1);
  }
  l->part[3] = at;
  return true;
}

/* ---- symbols and relocations ------------------------------------------------------------------------------------------ */
static bool is_defined(const Elf64_Sym *s) { return s->st_shndx != SHN_UNDEF; }

static uint64_t *entry_of(const Load *l, const Object *o, uint32_t i) { return (uint64_t *)(l->base + o->table) + i; }

static bool defined_address(Load *l, const Object *o, uint32_t i, uint64_t *out) {
  const Elf64_Sym *s = &o->symbol[i];
  if (s->st_shndx == SHN_ABS) return *out = s->st_value, true;
  if (s->st_shndx == SHN_COMMON) return *out = (uint64_t)(uintptr_t)l->base + o->common[i], true;
  if (s->st_shndx >= o->n_sections) return refuse(l, "a symbol is of no section:", o->names + s->st_name);
  /* symbols of sections that are not loaded (names, notes) are never asked for by loaded ones */
  *out = o->place[s->st_shndx] == SIZE_MAX ? 0 : (uint64_t)(uintptr_t)l->base + o->place[s->st_shndx] + s->st_value;
  return true;
}

/* The entry of what one of the objects defines for all. */
static const uint64_t *find(const Load *l, const char *name) {
  for (uint32_t k = 0; k < l->n; k++) {
    const Object *o = &l->object[k];
    for (uint32_t i = 1; i < o->n_symbols; i++)
      if (is_defined(&o->symbol[i]) && ELF64_ST_BIND(o->symbol[i].st_info) != STB_LOCAL && !strcmp(o->names + o->symbol[i].st_name, name))
        return entry_of(l, o, i);
  }
  return NULL;
}

/* What this object does not define: of another object, or of the process, and then behind a stub that jumps to what its entry
 * says. */
static bool look_elsewhere(Load *l, Object *o, uint32_t i) {
  const Elf64_Sym *s = &o->symbol[i];
  const char *name = o->names + s->st_name;
  uint64_t *entry = entry_of(l, o, i);
  const uint64_t *other = i ? find(l, name) : NULL;
  if (other) return *entry = *other, true;
  *entry = i ? (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, name) : 0;
  if (i && !*entry && ELF64_ST_BIND(s->st_info) != STB_WEAK) return refuse(l, "nothing is called", name);
  uint8_t *stub = l->base + o->stubs + (size_t)i * STUB_BYTES;
  const int32_t distance = (int32_t)((uint8_t *)entry - (stub + 6));
  stub[0] = 0xff, stub[1] = 0x25, stub[6] = stub[7] = 0xcc;
  memcpy(stub + 2, &distance, sizeof distance);
  return o->far[i] = true;
}

/* The tables of addresses: first of all that is defined here. */
static bool fill_tables(Load *l) {
  for (uint32_t k = 0; k < l->n; k++)
    for (uint32_t i = 0; i < l->object[k].n_symbols; i++)
      if (is_defined(&l->object[k].symbol[i]) && !defined_address(l, &l->object[k], i, entry_of(l, &l->object[k], i))) return false;
  for (uint32_t k = 0; k < l->n; k++)
    for (uint32_t i = 0; i < l->object[k].n_symbols; i++)
      if (!is_defined(&l->object[k].symbol[i]) && !look_elsewhere(l, &l->object[k], i)) return false;
  return true;
}

static bool relocate_one(Load *l, const Object *o, const Elf64_Rela *r, uint8_t *at, size_t room) {
  const uint32_t i = (uint32_t)ELF64_R_SYM(r->r_info);
  if (i >= o->n_symbols) return refuse(l, "a relocation has no symbol", NULL);
  const char *name = o->names + o->symbol[i].st_name;
  const uint64_t *entry = entry_of(l, o, i);
  const uint64_t a = (uint64_t)r->r_addend, p = (uint64_t)(uintptr_t)at;
  uint64_t value = *entry + a;
  size_t n = 4;
  switch (ELF64_R_TYPE(r->r_info)) {
  case R_X86_64_NONE: return true;
  case R_X86_64_64: n = 8; break;
  case R_X86_64_PC64: n = 8, value -= p; break;
  case R_X86_64_PC32:
  case R_X86_64_PLT32:
    if (o->far[i]) value = (uint64_t)(uintptr_t)(l->base + o->stubs + (size_t)i * STUB_BYTES) + a;
    value -= p;
    break;
  case R_X86_64_GOTPCREL:
  case R_X86_64_GOTPCRELX:
  case R_X86_64_REX_GOTPCRELX: value = (uint64_t)(uintptr_t)entry + a - p; break;
  default: return refuse(l, "an unknown kind of relocation for", name);
  }
  if (n > room) return refuse(l, "a relocation lies outside of its section", NULL);
  if (n == 4 && (int64_t)value != (int32_t)value) return refuse(l, "too far away:", name);
  memcpy(at, &value, n); /* little-endian, as the machine */
  return true;
}

static bool relocate(Load *l, const Object *o) {
  for (uint32_t k = 0; k < o->n_sections; k++) {
    const Elf64_Shdr *s = &o->section[k];
    if (s->sh_type == SHT_REL) return refuse(l, "relocations without addends", NULL);
    if (s->sh_type != SHT_RELA || s->sh_info >= o->n_sections || o->place[s->sh_info] == SIZE_MAX) continue;
    const Elf64_Shdr *to = &o->section[s->sh_info];
    if (s->sh_offset % 8 || to->sh_type == SHT_NOBITS) return refuse(l, "relocations of nothing", NULL);
    const Elf64_Rela *r = (const Elf64_Rela *)(o->bytes + s->sh_offset);
    for (uint64_t i = 0; i < s->sh_size / sizeof *r; i++) {
      if (r[i].r_offset >= to->sh_size) return refuse(l, "a relocation lies outside of its section", NULL);
      if (!relocate_one(l, o, &r[i], l->base + o->place[s->sh_info] + r[i].r_offset, to->sh_size - r[i].r_offset)) return false;
    }
  }
  return true;
}

/* ---- loading ------------------------------------------------------------------------------------------------------------- */
static bool map(Load *l) {
  void *base = mmap(NULL, l->part[3], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return refuse(l, "out of memory", NULL);
  l->base = base;
  for (uint32_t k = 0; k < l->n; k++) {
    const Object *o = &l->object[k];
    for (uint32_t i = 0; i < o->n_sections; i++)
      if (o->place[i] != SIZE_MAX && o->section[i].sh_type != SHT_NOBITS)
        memcpy(l->base + o->place[i], o->bytes + o->section[i].sh_offset, o->section[i].sh_size);
  }
  if (!fill_tables(l)) return false;
  for (uint32_t k = 0; k < l->n; k++)
    if (!relocate(l, &l->object[k])) return false;
  return (mprotect(l->base, l->part[1], PROT_READ | PROT_EXEC) == 0 &&
          (l->part[2] == l->part[1] || mprotect(l->base + l->part[1], l->part[2] - l->part[1], PROT_READ) == 0)) ||
         refuse(l, "the system forbids to execute it", NULL);
}

/* Constructors run now, destructors when the code goes: sanitizers register what they watch. */
static void run_constructors(const Load *l, LoadedCode *c) {
  typedef void (*Function)(void);
  for (uint32_t k = 0; k < l->n; k++) {
    const Object *o = &l->object[k];
    for (uint32_t i = 0; i < o->n_sections; i++) {
      const Elf64_Shdr *s = &o->section[i];
      if (o->place[i] == SIZE_MAX || (s->sh_type != SHT_INIT_ARRAY && s->sh_type != SHT_FINI_ARRAY)) continue;
      Function *f = (Function *)(void *)(l->base + o->place[i]);
      const size_t n = s->sh_size / sizeof *f;
      if (s->sh_type == SHT_FINI_ARRAY) c->fini[k] = f, c->n_fini[k] = n;
      else
        for (size_t j = 0; j < n; j++) f[j]();
    }
  }
}

/* A function that the job does not have has no symbol. */
static bool look_up(Load *l, JobFunction *f) {
  char name[160];
  if (!f->symbol) return true;
  snprintf(name, sizeof name, "%s_work", f->symbol);
  const uint64_t *entry = find(l, f->symbol), *work = find(l, name);
  if (!entry || !work || !*entry || !*work) return refuse(l, "it does not define", entry && *entry ? name : f->symbol);
  *(void **)&f->entry = (void *)(uintptr_t)*entry;
  f->work_bytes = *(const int64_t *)(uintptr_t)*work;
  return true;
}

static bool look_up_all(Load *l, Job *job) {
  bool ok = look_up(l, &job->train.fn) && look_up(l, &job->gradient.fn);
  for (uint32_t i = 0; ok && i < job->n_evals; i++) ok = look_up(l, &job->evals[i].fn);
  for (uint32_t i = 0; ok && i < job->n_derived; i++) ok = look_up(l, &job->derived[i].fn);
  return ok;
}

static bool read_all(Load *l, const ObjectCode *code) {
  if (!code->n || code->n > OBJECT_PARTS) return refuse(l, "there is none", NULL);
  for (l->n = 0; l->n < code->n; l->n++) {
    Object *o = &l->object[l->n];
    *o = (Object){.bytes = code->part[l->n].bytes, .size = code->part[l->n].size};
    if (!read_sections(l, o)) return false;
  }
  return true;
}

LoadedCode *loader_open(const ObjectCode *code, Job *job, const char **why) {
  static _Thread_local char text[256];
  Load l = {.why = why, .text = text, .n_text = sizeof text};
  LoadedCode *c = calloc(1, sizeof *c);
  const bool ok = (c || refuse(&l, "out of memory", NULL)) && read_all(&l, code) && lay_out(&l) && map(&l) && look_up_all(&l, job);
  if (ok) c->base = l.base, c->size = l.part[3], run_constructors(&l, c);
  else if (l.base) munmap(l.base, l.part[3]);
  for (uint32_t k = 0; k < l.n; k++) free(l.object[k].place), free(l.object[k].common), free(l.object[k].far);
  if (ok) return c;
  free(c);
  return NULL;
}

void loader_close(LoadedCode *c) {
  if (!c) return;
  for (uint32_t k = OBJECT_PARTS; k-- > 0;)
    for (size_t i = 0; i < c->n_fini[k]; i++) c->fini[k][i]();
  munmap(c->base, c->size);
  free(c);
}
