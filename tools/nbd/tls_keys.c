/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/nbd/tls_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/words/text.h"

static int tls_read_certificates(const char *dir, struct tls_keys *keys, struct bpull_error *error)
{
	char ca[4096], cert[4096], key[4096], crl[4096];
	int rc;

	snprintf(ca, sizeof(ca), "%s/ca-cert.pem", dir);
	snprintf(cert, sizeof(cert), "%s/client-cert.pem", dir);
	snprintf(key, sizeof(key), "%s/client-key.pem", dir);
	snprintf(crl, sizeof(crl), "%s/ca-crl.pem", dir);
	if (access(ca, R_OK) != 0)
		return text_error(error, -errno, "%.512s: %s; a directory of certificates needs it",
				  ca, strerror(errno));
	rc = gnutls_certificate_set_x509_trust_file(keys->certificates, ca, GNUTLS_X509_FMT_PEM);
	if (rc <= 0)
		return text_error(error, -EINVAL,
				  "%.512s: it has no certificate of an authority: %s", ca,
				  rc ? gnutls_strerror(rc) : "it is empty");
	if (access(crl, R_OK) == 0) {
		rc = gnutls_certificate_set_x509_crl_file(keys->certificates, crl,
							  GNUTLS_X509_FMT_PEM);
		if (rc < 0)
			return text_error(error, -EINVAL, "%.512s: %s", crl, gnutls_strerror(rc));
	}
	if (access(cert, F_OK) != 0 && access(key, F_OK) != 0)
		return 0;
	rc = gnutls_certificate_set_x509_key_file(keys->certificates, cert, key,
						  GNUTLS_X509_FMT_PEM);
	if (rc < 0)
		return text_error(error, -EINVAL, "%.512s, client-key.pem: %s", cert,
				  gnutls_strerror(rc));
	return 0;
}

static int tls_open_certificates(const char *dir, struct tls_keys *keys, struct bpull_error *error)
{
	int rc = gnutls_certificate_allocate_credentials(&keys->certificates);

	if (rc < 0)
		return text_error(error, -ENOMEM, "%s", gnutls_strerror(rc));
	if (dir)
		return tls_read_certificates(dir, keys, error);
	rc = gnutls_certificate_set_x509_system_trust(keys->certificates);
	if (rc < 0)
		return text_error(error, -ENOENT, "the system's certificates can't be read: %s",
				  gnutls_strerror(rc));
	return 0;
}

static int tls_set_psk(struct tls_keys *keys, const char *user, char *hex,
		       struct bpull_error *error)
{
	gnutls_datum_t key = { .data = (unsigned char *)hex, .size = strcspn(hex, "\r\n") };
	int rc = gnutls_psk_allocate_client_credentials(&keys->psk);

	if (rc >= 0)
		rc = gnutls_psk_set_client_credentials(keys->psk, user, &key, GNUTLS_PSK_KEY_HEX);
	if (rc < 0)
		return text_error(error, -EINVAL, "the key of user %.128s: %s", user,
				  gnutls_strerror(rc));
	return 0;
}

static int tls_open_psk(const char *path, const char *user, struct tls_keys *keys,
			struct bpull_error *error)
{
	FILE *file = fopen(path, "re");
	size_t user_len = strlen(user), cap = 0;
	char *line = NULL;
	int rc = 1;

	if (!file)
		return text_error(error, -errno, "%.512s: %s", path, strerror(errno));
	while (rc == 1 && getline(&line, &cap, file) > 0)
		if (strncmp(line, user, user_len) == 0 && line[user_len] == ':')
			rc = tls_set_psk(keys, user, line + user_len + 1, error);
	if (rc == 1)
		rc = text_error(error, -EINVAL, "%.512s: it has no line of user %.128s", path,
				user);
	if (line)
		explicit_bzero(line, cap);
	free(line);
	fclose(file);
	return rc;
}

int tls_keys_open(const struct tls_files *files, struct tls_keys **keys, struct bpull_error *error)
{
	struct tls_keys *new = calloc(1, sizeof(*new));
	int rc;

	if (!new)
		return text_error(error, -ENOMEM, "there is no memory");
	rc = files->psk_file ? tls_open_psk(files->psk_file, files->user, new, error)
			     : tls_open_certificates(files->certificates, new, error);
	if (rc) {
		tls_keys_free(new);
		return rc;
	}
	*keys = new;
	return 0;
}

void tls_keys_free(struct tls_keys *keys)
{
	if (!keys)
		return;
	if (keys->certificates)
		gnutls_certificate_free_credentials(keys->certificates);
	if (keys->psk)
		gnutls_psk_free_client_credentials(keys->psk);
	free(keys);
}
